"""What a recorder warns of: once each, and said where somebody called into the package."""

import sys
import warnings

# Of modules, whose frames are no place to point at.
INSIDE = ("ntkflow.", "ntkflow_validation.")


class RecordingWarning(UserWarning):
    """Something that a recorder did not write, and why; the training goes on."""


class Warned:
    """Warnings of one recorder."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def once(self, kind: str, sentence: str, category: type[Warning] = RecordingWarning) -> None:
        """Warn, unless something of the kind was said before."""
        if kind not in self._kinds:
            self._kinds.add(kind)
            warnings.warn(sentence, category, stacklevel=_outside())


def _outside() -> int:
    """The `stacklevel` of whoever called into this package, as seen from the function that asks."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    return level
