"""Every script of the tour, at small sizes: it draws its picture, and its idea holds in numbers."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Run = Callable[..., dict[str, float]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return import_module


@pytest.fixture
def run(load: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script's main; checks its picture, its numbers and that it says something."""

    def run_and_check(name: str, **sizes: Any) -> dict[str, float]:
        numbers = load(name).main(out=tmp_path / "new", **sizes)
        assert [path.name for path in (tmp_path / "new").iterdir()] == [f"{name}.png"]
        assert (tmp_path / "new" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert all(type(value) is float and np.isfinite(value) for value in numbers.values())
        assert capsys.readouterr().out.count(".\n") >= 2
        return numbers

    return run_and_check


def test_e_stays_within_the_tolerance_for_every_loss_while_eq_27_moves(run: Run) -> None:
    numbers = run("invariance", C=3, m=2, n=4, t_end=3.0)
    drifts = [value for name, value in numbers.items() if name.startswith("drift")]
    motions = [value for name, value in numbers.items() if name.startswith("motion")]
    assert len(drifts) == len(motions) == 3
    assert 0 < max(drifts) <= numbers["rtol"]
    assert min(motions) > 0.1


def test_the_loss_of_our_own_has_the_residual_that_it_claims(load: Callable[[str], Any]) -> None:
    from ntkflow.problem.losses import gradient_error

    F, Y = np.random.default_rng(0).standard_normal((2, 3, 4))
    assert gradient_error(load("invariance").log_cosh(), F, Y) < 1e-8


def test_every_part_of_the_loss_decays_at_its_rate(run: Run) -> None:
    numbers = run("three_phases", C=3, m=8, n=5)
    for phase, tolerance in (
        ("global", 1e-6),
        ("class", 0.04),
        ("individual", 2e-3),
        ("class, slaved", 2e-3),
    ):
        assert numbers[f"{phase} rate"] == pytest.approx(numbers[f"{phase} theory"], rel=tolerance)


def test_variability_of_a_wide_random_state_stays_above_the_floor(run: Run) -> None:
    numbers = run("variability_floor", C=3, m=4, n=8, t_end=200.0)
    assert numbers["loss"] < 1e-12
    assert numbers["smallest tr S"] >= numbers["floor"] > 1
    assert numbers["smallest margin"] >= -1e-8
    assert numbers["tr S narrow"] < 1e-3
    assert numbers["tr S balanced"] < 1e-6


def test_collapse_under_the_hypotheses_of_theorem_5_2_is_algebraic(run: Run) -> None:
    numbers = run("algebraic_tail", C=3, m=5, n=4, t_end=3e3)
    for name, power in (("tr_S", -1), ("loss", -2), ("NC3", -0.5)):
        assert numbers[f"{name} / law"] == pytest.approx(1, abs=0.01)
        assert numbers[f"{name} slope"] == pytest.approx(power, rel=0.01)
    assert numbers["NC1 with W^T 1 = 0"] < 1e-10
    assert numbers["time with W^T 1 = 0"] < 100
    assert numbers["NC1 with W^T 1 != 0"] > 1e-4


def test_angles_at_equal_biases_are_those_predicted_and_not_those_printed(run: Run) -> None:
    numbers = run("equal_biases", C=4, m=5, n=5, points=3)
    for name in ("W", "M", "NC3", "Gram"):
        assert numbers[f"error {name}"] < 1e-6
    assert numbers["error printed theta"] > 0.05


def test_imbalanced_classes_end_where_the_kernel_and_the_biases_say(run: Run) -> None:
    numbers = run("imbalance", counts=(12, 6, 2), n=5)
    assert numbers["NC1"] < 1e-6
    assert numbers["error of H1^T H1"] < 1e-6
    assert numbers["error of W W^T"] < 1e-6
    assert numbers["NC2"] == pytest.approx(numbers["NC2 predicted"], abs=1e-6)
    assert numbers["NC2"] > 0.05
    assert numbers["rarest / commonest mean"] > 1.05
    assert numbers["rarest / commonest weight"] < 0.95


def test_decay_causes_the_collapse_that_the_same_start_never_reaches_without(run: Run) -> None:
    numbers = run("weight_decay", C=3, m=6, n=10, rate=0.1, t_end=120.0)
    for name in ("E_norm", "NC1", "NC2", "NC3"):
        assert numbers[f"{name} with"] < 1e-3 * numbers[f"{name} without"]
    assert numbers["loss without"] < 1e-12
    assert numbers["error of E"] < 1e-6
    assert numbers["error of W W^T"] < 1e-6


@pytest.mark.slow
def test_linear_layers_do_what_was_said_of_them_and_their_kernel_aligns_and_grows_by_the_laws(
    run: Run,
) -> None:
    numbers = run("moving_kernel", C=3, m=2, depths=3, points=2, scale=0.5)
    assert numbers["agree"] == numbers["foretold"] > 3
    assert numbers["law"] < 0.03
    assert numbers["frozen"] < 1e-6


@pytest.mark.slow
def test_every_layer_takes_its_share_of_what_the_inputs_have_no_blocks(run: Run) -> None:
    numbers = run("kernel_of_layers", C=3, m=2, depths=2)
    assert numbers["inputs"] > 0.2
    assert numbers["law"] < 1e-6
    assert numbers["weighted"] < 1e-6
    assert numbers["kappa_n"] < -0.05


@pytest.mark.slow
def test_constants_weighted_by_w_follow_moving_features_and_contrasts_come_one_at_a_time(run: Run) -> None:
    numbers = run("moving_constants", C=3, m=2, points=200)
    assert numbers["weighted by W, moving"] < 2e-3
    assert numbers["mean over neurons, moving"] > 0.05
    assert numbers["frozen at the start"] > 0.1
    assert numbers["last over first"] > 1.1


def test_the_command_line_sends_the_picture_where_out_says(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(sys, "argv", ["script.py", "--out", "somewhere"])

    def main(out: Path) -> dict[str, float]:
        seen.append(out)
        return {}

    load("_pictures").run(main, "what it does")
    assert seen == [Path("somewhere")]


def test_readme_and_pictures_cover_every_script(load: Callable[[str], Any]) -> None:
    text = (EXAMPLES / "README.md").read_text()
    scripts = {path.stem for path in EXAMPLES.glob("*.py")} - {"_pictures", "make_pictures"}
    assert scripts == set(load("make_pictures").NAMES)
    assert scripts == {path.stem for path in (EXAMPLES / "pictures").iterdir()}
    for name in scripts:
        assert f"[{name}.py]({name}.py)" in text
        assert f"](pictures/{name}.png)" in text
        assert (EXAMPLES / "pictures" / f"{name}.png").stat().st_size < 120_000
