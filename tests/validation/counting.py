"""How often a command makes and reads what several of its steps need."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps

import pytest
from ntkflow_validation.kernels import measurement_file
from ntkflow_validation.runs import rundir
from ntkflow_validation.training import train


@contextmanager
def counted() -> Iterator[Counter]:
    """Counts by what was done: data sets loaded, networks built, files read and with which arrays left out."""
    seen: Counter = Counter()
    with pytest.MonkeyPatch.context() as patch:

        def count(module, name, what):
            plain = getattr(module, name)

            @wraps(plain)
            def counting(*args, **kwargs):
                seen[what(*args)] += 1
                return plain(*args, **kwargs)

            patch.setattr(module, name, counting)

        count(train.datasets, "load", lambda data, seed: ("load", data.name))
        count(train, "build", lambda model, *_: ("build", model.name))
        count(rundir, "read_record", lambda path, *_: (path.parent.name, path.name))
        count(
            measurement_file,
            "read",
            lambda path, without=(): (
                path.parents[1].name,
                path.name,
                "whole" if without == () else len(without),
            ),
        )
        yield seen
