"""Random numbers of the caller's, left where they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def untouched() -> Iterator[None]:
    """Put the global generators of Python and NumPy back, whatever a network draws inside."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one a network may use
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
