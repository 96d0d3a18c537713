import dataclasses
import json

import pytest
import typer
from typer.testing import CliRunner

from ntkflow.cli import prove as command
from ntkflow.cli.main import main
from ntkflow.prove import Verdict, claims, prove


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(command.prove_command)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_one_entry_is_shown_with_its_formula_and_verdict(run):
    result = run("--only", "sec-3.3")
    assert result.exit_code == 0
    assert "sec-3.3" in result.output
    assert "dV/dt = -2 N" in result.output
    assert "1 entry: 1 proved" in result.output


def test_a_single_erratum_shows_what_is_left_of_the_printed_form(run):
    output = " ".join(run("--only", "eq-47").output.split())
    assert "Exact counterexample" in output
    assert "H2 H2' H2 H2'" in output


def test_several_entries_are_a_table(run):
    output = run("--only", "eq-4").output
    assert all(key in output for key in ("eq-40", "eq-41", "eq-49", "as printed"))


def test_errata_only(run):
    result = run("--errata", "--json")
    entries = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {entry["key"] for entry in entries} == {claim.key for claim in claims() if claim.erratum}
    assert all(entry["as_recorded"] for entry in entries)
    assert json.loads(run("--only", "eq-40", "--json").stdout)[0]["witness"]["printed"] > 1


def test_quiet_prints_nothing_when_all_is_well(run):
    assert run("--only", "eq-26", "--quiet").output == ""


def test_markdown_is_written(run, tmp_path):
    path = tmp_path / "page.md"
    assert run("--only", "eq-4", "--errata", "--markdown", str(path), "--quiet").exit_code == 0
    text = path.read_text()
    assert "## eq-40" in text
    assert "## eq-26" not in text


def test_an_unknown_key_exits_with_two_and_names_the_rule(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["prove", "--only", "nonsense"])
    assert stop.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_markdown_path_that_cannot_be_written_exits_with_two(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["prove", "--only", "eq-26", "--markdown", str(tmp_path / "no" / "page.md")])
    assert stop.value.code == 2
    assert "page.md" in capsys.readouterr().err


def test_a_verdict_that_is_not_the_recorded_one_exits_with_one(run, monkeypatch):
    def spoiled(only, errata):
        return tuple(
            dataclasses.replace(entry, verdict=Verdict.NOT_PROVED, failed=("dE/dt",))
            for entry in prove(only, errata=errata)
        )

    monkeypatch.setattr(command, "prove", spoiled)
    result = run("--only", "eq-26", "--quiet")
    assert result.exit_code == 1
    assert "not proved" in " ".join(result.output.split())
