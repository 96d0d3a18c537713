import pytest
from ntkflow_validation.ladder.score.windows import MOST, choose

from ntkflow.errors import InputError

LOSSES = {s: 64.0 * 2 ** (-s / 4) for s in range(0, 21)}


def test_windows_end_when_the_loss_has_halved():
    early, between, late = choose(LOSSES, [0, 8, 12, 20])
    assert (early.name, early.steps, early.halved) == ("early", (0, 1, 2, 3, 4), True)
    assert (between.name, between.steps[0]) == ("step 8", 8)
    assert (late.name, late.steps) == ("late", (12, 13, 14, 15, 16))


def test_a_start_leads_to_the_end():
    (window,) = choose(LOSSES, [0, 8], start=8)
    assert window.name == "step 8"
    assert (window.steps[0], window.steps[-1]) == (8, 20)
    assert not window.halved


def test_a_loss_that_does_not_halve_gives_one_window_to_the_end():
    (early,) = choose(dict.fromkeys(range(100), 1.0), [0, 40])
    assert not early.halved
    assert len(early.steps) <= MOST
    assert (early.steps[0], early.steps[-1]) == (0, 99)


def test_a_loss_that_halves_at_once_leaves_enough_points():
    (early,) = choose({0: 1.0, 1: 0.1, 2: 0.1, 3: 0.1}, [0])
    assert early.steps == (0, 1, 2)


def test_what_was_not_measured_cannot_start():
    with pytest.raises(InputError, match="no kernel was measured there"):
        choose(LOSSES, [0, 8], start=4)
    with pytest.raises(InputError, match="validate kernels"):
        choose(LOSSES, [20])
