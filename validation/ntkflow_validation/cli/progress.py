"""The progress bar of a run: one line per stage, on standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

from ntkflow import progress as plain
from ntkflow.cli.ends import GOES_ON
from ntkflow.errors import StoppedError
from ntkflow_validation.runs.documents import Line


class Bar(plain.Bar):
    """A bar whose line of the training shows the metrics seen last."""

    def observed(self, line: Line) -> None:
        """Show the NC metrics and the test accuracy of a snapshot beside the bar of the training."""
        collapse = " ".join(f"{line.values[name]:.2g}" for name in ("NC1", "NC2", "NC3"))
        # Short enough for a line of 80 characters.
        self.note("training", f"NC1-3 {collapse}, accuracy {line.values['accuracy_test']:.2f}")


@contextmanager
def progress(hidden: bool) -> Iterator[Bar]:
    """A bar that is closed at the end, whatever happens.

    Raises:
        StoppedError: Ctrl-C; every command with such a bar goes on where it was.
    """
    bar = Bar(stream=StringIO() if hidden else None)
    with bar:
        try:
            yield bar
        except KeyboardInterrupt:
            raise StoppedError(GOES_ON) from None
