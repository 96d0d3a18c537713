"""What the premise of a block kernel is worth for a measured one: what was measured beside its constants.

A state file that a measurement wrote says it in its header; one of a user's own says nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ntkflow._types import Json
from ntkflow.runs.files import read_arrays


@dataclass(frozen=True)
class Premise:
    """How far a measured kernel is from three constants; None where it was not measured.

    Attributes:
        block_residual: |K - K_block| / |K| of the mean over neurons.
        cv: standard deviation over mean of the eigenvalues of class contrasts.
        leak: how far contrasts move samples of a class apart, over how far they move contrasts.
        iso: |Theta - I (x) K| / |Theta|: neurons that are not alike.
        foretold: by kind of start, error 1 - skill of three constants on the centred class means that trainings of such
            shapes had.
    """

    block_residual: float | None
    cv: float | None
    leak: float | None
    iso: float | None
    foretold: Mapping[str, float]

    @property
    def sentences(self) -> Iterator[tuple[str, str]]:
        """For people: what is said, and of what."""
        parts = {
            "residual of the blocks": self.block_residual,
            "spread of class contrasts (cv)": self.cv,
            "leak into classes": self.leak,
            "unlike neurons (iso)": self.iso,
        }
        said = ", ".join(
            f"{words} {'unknown' if value is None else format(value, '.2g')}"
            for words, value in parts.items()
        )
        yield "kernel", f"measured, not made: {said}"
        if self.foretold:
            # A part that was not measured counts nothing.
            most = "at most " if self.leak is None or self.iso is None else ""
            skills = " or ".join(f"{1 - error:.2f} ({start})" for start, error in self.foretold.items())
            yield (
                "skill",
                f"three constants predicted the class means of such networks with a skill of {most}{skills}",
            )
        yield (
            "so",
            "what is said here holds for the block kernel; of the network as far as these are small, and its kernel stays",
        )


def premise(path: Path | None) -> Premise | None:
    """That of a state file; None without one, or where nothing was measured.

    Raises:
        InputError: the file cannot be read.
    """
    if path is None:
        return None
    measured = read_arrays(path, "state", lambda _: False)[1].get("measurement")
    if not isinstance(measured, dict):
        return None
    family, shape = (_table(measured.get(name)) for name in ("features", "shape"))
    read = {str(start): _read(error) for start, error in _table(shape.get("foretold")).items()}
    told = {start: error for start, error in read.items() if error is not None}
    cv, leak, iso = (_read(shape.get(name)) for name in ("cv", "leak", "iso"))
    return Premise(_read(family.get("block_residual")), cv, leak, iso, told)


def _table(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _read(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
