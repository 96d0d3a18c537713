"""`ntkflow explore`."""

import webbrowser

import pytest

from ntkflow.explore.page import page
from tests.commands import exit_code


@pytest.fixture
def opened(monkeypatch):
    """Addresses that a browser was asked for, on a machine with a screen."""
    for name in ("CI", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    found = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not found.append(address))
    return found


def test_it_writes_and_opens_the_page(opened, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert exit_code("explore") == 0
    assert opened == [(tmp_path / "explore.html").as_uri()]
    assert capsys.readouterr().out == "Page written to explore.html\n"
    assert (tmp_path / "explore.html").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(
    ("words", "variable"),
    [(("--no-open",), None), ((), "CI"), ((), "SSH_CONNECTION")],
    ids=["no-open", "ci", "ssh"],
)
def test_it_opens_nothing_where_nobody_looks(opened, tmp_path, monkeypatch, capsys, words, variable):
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    path = tmp_path / "deep" / "page.html"
    assert exit_code("explore", "--out", path, *words) == 0
    assert opened == []
    assert f"Page written to {path}; open it" in capsys.readouterr().out
    assert exit_code("explore", "--out", path, "--quiet", *words) == 0
    assert capsys.readouterr().out == ""


def test_it_refuses_in_one_line(opened, tmp_path, capsys):
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    for place in (mine, mine / "page.html", tmp_path):
        assert exit_code("explore", "--out", place) == 2
        said = capsys.readouterr().err
        assert len(said.strip().splitlines()) == 1
        assert "Traceback" not in said
    assert mine.read_text() == "mine"
    assert opened == []
