"""What was measured: a mapping from name to value that says why a name has none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ntkflow import views
from ntkflow._types import Json
from ntkflow.metrics.published.registry import METRICS, Metric


@dataclass(frozen=True, eq=False, repr=False)
class Collapse(Mapping[str, float]):
    """Measures of neural collapse by name; finite numbers all of them.

    Attributes:
        values_: by name, those that have a value.
        absent: by name, why the others have none.
        notes: what has to be said about the input.
        sizes: C, N, n, smallest and largest class, rank of the centred means.
        centre: "classes" or "samples".
        test: the same for test features against the training means; None without.

    A name without value is no key of the mapping; asking for it is a `KeyError` with the reason.
    """

    values_: dict[str, float]
    absent: dict[str, str]
    notes: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    centre: str = "classes"
    test: "Collapse | None" = None

    def __getitem__(self, name: str) -> float:
        if name in self.values_:
            return self.values_[name]
        known = name in METRICS
        raise KeyError(f"{name}: {self.absent.get(name) if known else 'no such measure'}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    @staticmethod
    def explain(name: str) -> Metric:
        """Formula, source and conditions of a measure."""
        return METRICS[name]

    def rows(self) -> list[tuple[str, float | None, float | None]]:
        """Name, value, value on test features; None where there is none."""
        test = {} if self.test is None else self.test
        # In the order of the registry, whatever the order in which values were found.
        return [(name, self.get(name), test.get(name)) for name in METRICS if name in self or name in test]

    def as_dict(self) -> Json:
        """Plain values for files."""
        found: Json = {
            "sizes": self.sizes,
            "centre": self.centre,
            "values": dict(self),
            "absent": dict(self.absent),
            "notes": list(self.notes),
        }
        return found if self.test is None else {**found, "test": self.test.as_dict()}

    def _heads(self) -> tuple[str, ...]:
        return ("", "value") if self.test is None else ("", "training", "test")

    def __repr__(self) -> str:
        rows = [row[: len(self._heads())] for row in self.rows()]
        notes = "".join(f"\nnote: {note}" for note in self.notes)
        return f"{views.called(self, **self.sizes)}\n{views.text_table(self._heads(), rows)}{notes}"

    def _repr_html_(self) -> str:
        rows = [row[: len(self._heads())] for row in self.rows()]
        return views.html_table(views.called(self, **self.sizes), self._heads(), rows)


class Layers(dict[str, Collapse]):
    """Measures layer by layer, in the order in which the layers came."""

    def __repr__(self) -> str:
        names = [name for name in METRICS if any(name in found for found in self.values())]
        rows = [(name, *(found.get(name) for found in self.values())) for name in names]
        return views.text_table(("", *self), rows)

    def as_dict(self) -> Json:
        """Plain values for files, by layer."""
        return {name: found.as_dict() for name, found in self.items()}
