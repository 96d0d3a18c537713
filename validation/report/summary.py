"""What a finished run says in one page: the summary, and the figure of its comparison."""

from ntkflow import __version__
from ntkflow._types import Json
from ntkflow.store import run_versions
from validation.blocks import BlockFit
from validation.pipeline import Window, deviations
from validation.rundir import RunDirectory


def summary(run: RunDirectory) -> Json:
    """summary.json, from what the run directory holds so far."""
    metrics, kernels = run.metrics(), run.kernels()
    first, last = (metrics[0], metrics[-1]) if metrics else ({}, {})
    comparison = run.read_json("comparison.json")
    return {
        "version": __version__,
        **run_versions(),
        "seed": run.config.seed,
        "config": run.config.to_dict(),
        "deviations": deviations(run.config),
        "training": {
            **run.read_json("training.json"),
            "steps": last.get("step"),
            "flow_time": last.get("time"),
            "first": first,
            "last": last,
        },
        "kernels": [kernel_document(step, fit) for step, fit in kernels.items()],
        "from_snapshot": comparison.get("from_snapshot"),
        "windows": comparison.get("windows", []),
    }


def kernel_document(step: int, fit: BlockFit) -> Json:
    """Constants of one measured kernel, short."""
    names = ("kappa_d", "kappa_c", "kappa_n", "mu_single")
    return {
        "step": step,
        **{name: getattr(fit, name).value for name in names},
        "alignment": fit.alignment,
        "residual": fit.residual,
        "broken_order": fit.broken_order,
    }


def draw(run: RunDirectory, windows: list[Window]) -> str | None:
    """Write figures/comparison.png for the leading window; its path, or None without a comparison."""
    from validation.figures import comparison_figure

    scored = {w.step: w.comparison for w in windows if w.comparison is not None}
    if not windows or windows[0].comparison is None:
        return None
    config = run.config
    title = (
        f"{config.data.name}, {config.model.name}, N = {config.data.classes * config.data.per_class}, "
        f"n = {config.model.features}: predicted from step {windows[0].step} with the measured block kernel"
    )
    final = run.path / "figures" / "comparison.png"
    temporary = final.with_name(".partial.png")
    final.parent.mkdir(exist_ok=True)
    comparison_figure(windows[0].comparison, scored, title).savefig(temporary, dpi=110)
    temporary.replace(final)
    return str(final)
