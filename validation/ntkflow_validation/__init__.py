"""Real networks against the theory: train, measure the empirical kernels, predict, compare.

`ntkflow_validation.measure(features, params, X, y)` measures the kernels of any network; see `ntkflow_validation.kernels`;
`ntkflow_validation.kernel_figure(...)` draws them.
"""

from typing import Any

__all__ = ["kernel_figure", "measure"]


def __getattr__(name: str) -> Any:
    # On demand: the command line imports this package and must not wait for jax.
    if name == "measure":
        from ntkflow_validation.kernels import measure

        return measure
    if name == "kernel_figure":
        from ntkflow_validation.figures.kernel_panes import kernel_figure

        return kernel_figure
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
