"""The public door: every name loads, is documented, and importing costs nothing slow."""

import subprocess
import sys

import pytest

import ntkflow as nf


@pytest.mark.parametrize("name", [name for name in nf.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name):
    assert (getattr(nf, name).__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = nf.nonsense


def test_solving_the_default_problem_imports_neither_scipy_nor_jax():
    script = (
        "import sys, ntkflow as nf\n"
        "s, k = nf.Sizes(3, 4, 5), nf.BlockKernel(1, 0.5, 0.1)\n"
        "nf.solve(nf.Problem(s, k, nf.initial.make('balanced', s, k))).series\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'scipy', 'jax', 'matplotlib', 'sympy', 'rich'}))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
