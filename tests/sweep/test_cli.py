import json

import pytest

from ntkflow.cli import main as command
from ntkflow.sweep import Table

SMALL = ["--set", "classes=2", "--set", "per_class=2", "--set", "features=3", "--set", "t_end=0.2"]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Commands run in an empty folder, their cells in a thread of this process."""
    from concurrent.futures import ThreadPoolExecutor

    from ntkflow.sweep import runner

    monkeypatch.setitem(command.COMMANDS, "sweep", ("ntkflow.cli.sweep:sweep", "Run a grid."))
    monkeypatch.setattr(runner, "local_processes", lambda: ThreadPoolExecutor(1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, expect=0):
    with pytest.raises(SystemExit) as caught:
        command.main(["sweep", *map(str, arguments)])
    assert (caught.value.code or 0) == expect


def test_a_sweep_writes_its_directory_and_says_where(here, capsys):
    run(*SMALL, "--over", "scale=1,2", "--seeds", 2, "--out", "s")
    assert {path.name for path in (here / "s").iterdir()} == {
        "sweep.toml", "cells", "table.csv", "table.npz", "figures",
    }  # fmt: skip
    assert [path.name for path in (here / "s" / "figures").iterdir()] == ["sweep.png"]
    assert [path.suffix for path in (here / "s" / "cells").iterdir()] == [".shard"]
    assert "4 of 4 cells done" in capsys.readouterr().out


def test_the_same_command_again_finds_its_directory(here, capsys):
    for _ in range(2):
        run(*SMALL, "--over", "scale=1,2", "--no-figures")
    assert len(list((here / "runs").iterdir())) == 1


def test_json_is_alone_and_complete(capsys):
    run(*SMALL, "--over", "init=gaussian,relu", "--y", "nc.NC2.final", "--y", "t_end", "--out", "s", "--json")
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["cells"], result["done"], result["failed"]) == (2, 2, 0)
    assert set(result["rows"][0]) == {"init", "status", "nc.NC2.final", "t_end"}
    assert captured.err == ""


def test_quiet_is_quiet(capsys):
    run(*SMALL, "--over", "scale=1,2", "--out", "s", "--quiet")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_failed_cells_are_counted_and_the_exit_code_says_so(capsys):
    run(*SMALL, "--over", "kappa_d=1,0.1", "--out", "s", expect=1)
    captured = capsys.readouterr()
    assert "1 of 2 cells failed, the first with: kappa_d" in captured.err
    assert "1 of 2 cells done" in captured.out


def test_sweep_toml_replays_and_options_override_it(here, capsys):
    run(*SMALL, "--over", "scale=1,2", "--seeds", 2, "--log-y", "--out", "a", "--quiet")
    run("--config", "a/sweep.toml", "--out", "b", "--quiet")
    run("--config", "a/sweep.toml", "--seeds", 1, "--over", "kappa_d=1,2", "--out", "c", "--json")
    keys = [Table.read(here / d).columns["key"].tolist() for d in "ab"]
    assert keys[0] == keys[1]
    assert json.loads(capsys.readouterr().out)["cells"] == 2
    assert "log_y = true" in (here / "c" / "sweep.toml").read_text()


def test_a_config_of_simulate_is_a_base(here, capsys):
    run(*SMALL, "--over", "scale=1,2", "--out", "a", "--quiet")
    text = (here / "a" / "sweep.toml").read_text()
    (here / "config.toml").write_text(text[: text.index("[sweep]")])
    run("--config", "config.toml", "--over", "scale=1,2", "--out", "b", "--quiet")
    keys = [Table.read(here / d).columns["key"].tolist() for d in "ab"]
    assert keys[0] == keys[1]


def test_three_axes_are_a_table_without_a_figure(here, capsys):
    run(*SMALL, "--over", "scale=1,2", "--over", "kappa_d=1,2", "--over", "kappa_n=0,0.1", "--out", "s")
    assert "No figure" in capsys.readouterr().out
    assert (here / "s" / "table.csv").is_file()


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    from ntkflow.cli import sweep as module

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_sweep", interrupt)
    run(*SMALL, "--over", "scale=1,2", expect=130)
    assert "the same command again" in capsys.readouterr().err


def test_a_study_with_changes_has_a_directory_of_its_own():
    from ntkflow.cli.sweep import _spec, default_directory

    plain = _spec(None, "equal-bias", [], [], None, {})
    changed = _spec(None, "equal-bias", [], ["classes=3"], None, {})
    assert str(default_directory(plain)) == "runs/sweep-equal-bias"
    assert default_directory(changed) != default_directory(plain)
    assert changed.base.classes == 3


CASES = {
    "nothing": ([], "needs something to vary"),
    "field": (["--over", "skale=1,2"], "did you mean scale"),
    "set": (["--over", "scale=1,2", "--set", "classes"], "is not FIELD=VALUE"),
    "set value": (["--over", "scale=1,2", "--set", "classes=two"], "must be a whole number"),
    "quantity": ([*SMALL, "--over", "scale=1,2", "--y", "NC1.end", "--out", "s"], "did you mean"),
    "study": (["--study", "all"], "must be one of"),
    "study and over": (["--study", "equal-bias", "--over", "scale=1,2"], "has no meaning beside --study"),
    "both": (["--over", "scale=1,2", "--workers", "1", "--scheduler", "a"], "has no meaning beside"),
    "workers": ([*SMALL, "--over", "scale=1,2", "--workers", "0"], "must be 1 .. 1024"),
    "config": (["--config", "none.toml"], "cannot be read"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(case, capsys):
    arguments, message = CASES[case]
    run(*arguments, expect=2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("ntkflow: error: ")
    assert captured.err.count("\n") == 1
