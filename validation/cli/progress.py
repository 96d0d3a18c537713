"""The progress bar of a run: one line per stage, on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ntkflow.cli.ends import GOES_ON
from ntkflow.errors import StoppedError


class Bar:
    """A rich progress bar with one line per stage; that of the training shows the metrics seen last."""

    def __init__(self, hidden: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar, share = BarColumn(bar_width=12), TextColumn("{task.percentage:>3.0f}%")
        columns = (TextColumn("{task.description:<18}"), bar, share)
        console = Console(stderr=True)
        seen = TextColumn("{task.fields[seen]}")
        self.bar = Progress(*columns, TimeRemainingColumn(), seen, console=console, disable=hidden)
        self.tasks: dict[str, Any] = {}
        self.seen = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show `done` of `total` beside the name of a stage."""
        if not self.tasks:
            # Not before there is something to show: a stopped empty bar leaves a blank line.
            self.bar.start()
        if what not in self.tasks:
            self.tasks[what] = self.bar.add_task(what, total=total, seen="")
        self.bar.update(self.tasks[what], completed=done, seen=self.seen if what == "training" else "")

    def say(self, line: str) -> None:
        """A line above the bars."""
        if not self.bar.disable:
            self.bar.console.print(line, highlight=False)

    def observed(self, metrics: dict[str, Any]) -> None:
        """Show the NC metrics and the test accuracy of a snapshot beside the bar of the training."""
        collapse = " ".join(f"{metrics[name]:.2g}" for name in ("NC1", "NC2", "NC3"))
        # Short enough for a line of 80 characters.
        self.seen = f"NC1-3 {collapse}, accuracy {metrics['accuracy_test']:.2f}"

    def stop(self) -> None:
        """Leave the bars as they are."""
        if self.tasks:
            self.bar.stop()


@contextmanager
def progress(hidden: bool) -> Iterator[Bar]:
    """A bar that is stopped at the end, whatever happens.

    Raises:
        StoppedError: Ctrl-C; every command with such a bar goes on where it was.
    """
    bar = Bar(hidden)
    try:
        yield bar
    except KeyboardInterrupt:
        raise StoppedError(GOES_ON) from None
    finally:
        bar.stop()
