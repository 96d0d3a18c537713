"""The bar of plain text, on a terminal, in a notebook and in a log."""

from io import StringIO

import pytest

import ntkflow as nf
from ntkflow import progress


class Terminal(StringIO):
    def isatty(self):
        return True

    def shown(self):
        """What stands there in the end: a line is what was written over it last."""
        lines = []
        for line in self.getvalue().split("\n"):
            found = ""
            for part in line.split("\r"):
                found = part + found[len(part) :]
            lines.append(found.rstrip())
        return lines


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_each_stage_has_a_line_that_is_written_over(clock):
    out = Terminal()
    with nf.Bar(stream=out) as bar:
        bar("training", 1, 4)
        clock[0] = 3.0
        bar("training", 2, 4)
        clock[0] = 6.0
        bar("training", 4, 4)
        bar("cells (2 failed)", 2, 3)
        bar("cells", 3, 3)
    assert out.shown() == [
        "training           [############] 100%  4 of 4",
        "cells              [############] 100%  3 of 3",
        "",
    ]
    assert "[######......]  50%  0:03 left  2 of 4" in out.getvalue()


def test_steps_in_quick_succession_are_not_all_drawn_but_the_last_is(clock):
    out = Terminal()
    bar = nf.Bar(stream=out)
    for done in range(1, 1001):
        clock[0] += 1e-3
        bar("stepping", done, 1000)
    bar.close()
    assert out.getvalue().count("stepping") < 20
    assert out.shown()[0].endswith("1000 of 1000")


def test_a_bar_that_is_not_kept_vanishes_and_a_line_above_it_stays():
    out = Terminal()
    with nf.Bar(keep=False, stream=out, share=lambda fraction: fraction**2) as bar:
        bar("integrating", 0.5, 1.0)
        bar.say("half of the way")
    assert out.shown() == ["half of the way", ""]
    assert "[###.........]  25%" in out.getvalue()


def test_a_log_gets_one_line_for_a_stage():
    out = StringIO()
    with nf.Bar(stream=out) as bar:
        bar("measuring", 1, 2)
        bar("measuring", 2, 2)
        bar.note("training", "NC1 0.5")
        bar("training", 1, 2)
    assert out.getvalue() == (
        "measuring          [############] 100%  2 of 2\ntraining           [######......]  50%  NC1 0.5\n"
    )


def test_a_notebook_rewrites_its_line_though_it_is_no_terminal():
    stream = type(
        "OutStream", (Terminal,), {"isatty": lambda self: False, "__module__": "ipykernel.iostream"}
    )
    out = stream()
    with nf.Bar(stream=out) as bar:
        bar("integrating", 1, 2)
        bar("integrating", 2, 2)
    assert "\r" in out.getvalue()
    assert out.shown()[0].endswith("2 of 2")


def test_no_line_is_wider_than_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    out = Terminal()
    with nf.Bar(stream=out) as bar:
        bar("integrating", 1, 2)
    assert max(map(len, out.shown())) == 29


def test_every_long_computation_calls_it_alike():
    sizes, kernel = nf.Sizes(3, 2, 4), nf.BlockKernel(1.0, 0.5, 0.1)
    problem = nf.Problem(sizes, kernel, nf.initial.make("gaussian", sizes))
    for work, stage in (
        (lambda heard: nf.solve(problem, t_end=1.0, progress=heard), "integrating"),
        (lambda heard: nf.descend(problem, 10, 0.01, progress=heard), "stepping"),
    ):
        heard = []
        work(lambda *called, heard=heard: heard.append(called))
        what, done, total = heard[-1]
        assert what == stage
        assert done == total
