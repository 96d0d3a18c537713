import pytest
from ntkflow_validation.ladder.score.windows import MOST, choose

from ntkflow.errors import InputError

RESIDUALS = {s: 64.0 * 2 ** (-s / 4) for s in range(0, 41)}


def test_windows_end_when_the_classes_are_learnt():
    early, between, late = choose(RESIDUALS, [0, 8, 12, 40])
    assert (early.name, early.steps, early.halved) == ("early", tuple(range(21)), True)
    assert early.until == {"1/2": 4, "1/10": 14, "1/30": 20}
    assert (between.name, between.steps[0]) == ("step 8", 8)
    assert (late.name, late.steps[0], late.steps[-1]) == ("late", 12, 32)


def test_a_window_ends_at_the_smallest_share_that_is_reached():
    (early,) = choose({s: r for s, r in RESIDUALS.items() if s < 16}, [0])
    assert early.until == {"1/2": 4, "1/10": 14}
    assert early.steps[-1] == 14
    stuck = {s: max(r, 20.0) for s, r in RESIDUALS.items()}
    (early,) = choose(stuck, [0])
    assert (early.until, early.steps[-1]) == ({"1/2": 4}, 4)


def test_a_start_leads_to_the_end():
    (window,) = choose(RESIDUALS, [0, 8], start=8)
    assert window.name == "step 8"
    assert (window.steps[0], window.steps[-1]) == (8, 40)
    assert window.halved
    assert window.until == {"1/2": 12, "1/10": 22, "1/30": 28}


def test_a_residual_that_does_not_halve_gives_one_window_to_the_end():
    (early,) = choose(dict.fromkeys(range(100), 1.0), [0, 40])
    assert not early.halved
    assert early.until == {}
    assert len(early.steps) <= MOST
    assert (early.steps[0], early.steps[-1]) == (0, 99)


def test_steps_at_which_a_share_is_reached_are_kept_in_a_thinned_window():
    slow = {s: 2.0 ** (-s / 37) for s in range(400)}
    (early,) = choose(slow, [0])
    assert len(early.steps) <= MOST + 3
    assert set(early.until.values()) <= set(early.steps)


def test_a_residual_that_halves_at_once_leaves_enough_points():
    (early,) = choose({0: 1.0, 1: 0.01, 2: 0.01, 3: 0.01}, [0])
    assert early.steps == (0, 1, 2)


def test_what_was_not_measured_cannot_start():
    with pytest.raises(InputError, match="no kernel was measured there"):
        choose(RESIDUALS, [0, 8], start=4)
    with pytest.raises(InputError, match="validate kernels"):
        choose(RESIDUALS, [40])
