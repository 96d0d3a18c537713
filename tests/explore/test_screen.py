"""A page is opened where somebody looks, and nowhere else."""

import webbrowser

import pytest

from ntkflow.explore.screen import has_screen, open_page


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": ""}, "linux", False),
        ({}, "darwin", True),
        ({"DISPLAY": ":0", "CI": "true"}, "linux", False),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({"SSH_CONNECTION": "1 2 3 4"}, "darwin", False),
        ({"CI": "1"}, "darwin", False),
    ],
)
def test_where_there_is_a_screen(environment, platform, expected):
    assert has_screen(environment, platform) is expected


def test_a_browser_gets_the_address_and_may_be_missing(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not asked.append(address))
    path = tmp_path / "a page.html"
    assert open_page(path)
    assert asked == [path.resolve().as_uri()]

    def missing(_):
        raise webbrowser.Error("none")

    monkeypatch.setattr(webbrowser, "open", missing)
    assert not open_page(path)
