import pytest

import ntkflow as nf
from ntkflow.integrate.descent import Momentum


@pytest.mark.parametrize(("beta", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.3, True)])
def test_steps_are_the_sums_of_the_kernel_of_past_gradients(beta, nesterov):
    # x moves by eta sum_j c_j g_{k-j}: flow time is sum c, the effective step sum c + 2 sum j c_j.
    c = [beta ** (j + 1) if nesterov and j else beta**j for j in range(2000)]
    if nesterov:
        c[0] = 1 + beta
    m = Momentum(0.1, beta, nesterov)
    assert m.time_step == pytest.approx(0.1 * sum(c))
    for k in (0, 1, 5, 50):
        assert m.reach(k) == pytest.approx(0.1 * sum(c[: k + 1]))
    assert m.effective_step == pytest.approx(0.1 * (sum(c) + 2 * sum(j * w for j, w in enumerate(c))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "eta = 0.0: must be positive"),
        ((float("nan"),), "eta = nan"),
        ((0.1, 1.0), "momentum = 1.0: must lie in"),
        ((0.1, -0.1), "momentum = -0.1"),
        ((0.1, 0.0, True), "nesterov = True: has no meaning without momentum"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(nf.InputError, match=message):
        Momentum(*arguments)
