"""Kernels measured at the snapshots of a run, written beside them under measurements/."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
from flax import nnx

from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow_validation.config.config import KernelConfig
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.kernels import FolderStore, JaxBackend, Measurement, measure
from ntkflow_validation.kernels.forecast import Forecast
from ntkflow_validation.kernels.measurement_file import LARGE
from ntkflow_validation.models.base import Network, Tree, Variables
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.train import Prepared, head, prepare, start

Announce = Callable[[Forecast], object]


# What the panes of a kernel figure show.
FIGURE_QUANTITIES = ("outputs", "pair-norms", "output-pair-norms")


def measure_snapshot(
    network: Network,
    variables: Variables,
    dataset: Dataset,
    how: KernelConfig,
    seed: int = 0,
    store: FolderStore | None = None,
    progress: Progress = silent,
    announce: Announce | None = None,
) -> Measurement:
    """Kernels of the body's parameters, with the network's own head.

    Args:
        network: structure.
        variables: parameters and statistics to measure at.
        dataset: training samples.
        how: method and quantities, on which neurons and samples.
        seed: of the probes.
        store: keeps finished chunks.
        progress: called as they are finished.
        announce: called beforehand with how long it will take.

    Raises:
        InputError: see `ntkflow_validation.kernels.measure`.
    """
    variables.check_finite()
    if how.bn == "recalibrated":
        statistics = network.compiled_calibrated(*variables, jnp.asarray(dataset.x))
        variables = variables._replace(statistics=statistics)
    W, b = head(variables)
    # A bias that is there is a parameter, and has its part in the outputs' kernel, whatever its value.
    classifier = (W, b if "bias" in variables.params["head"] else None)
    function = batch_features(network) if how.bn == "batch" else network.body_features
    return measure(
        JaxBackend(function, variables.params["body"], variables), None, dataset.x, dataset.labels, head=classifier,
        quantities=how.quantities, method=how.method, memory=how.memory, neurons=how.neurons or None,
        per_class=how.per_class or None, probes=how.probes, bn=how.bn, seed=seed, store=store, progress=progress,
        announce=announce,
    )  # fmt: skip


@lru_cache(maxsize=8)
def batch_features(network: Network) -> Callable[[Tree, Variables, jax.Array], jax.Array]:
    """Features with normalisation by the statistics of the batch itself."""

    def features(body: Tree, variables: Variables, x: jax.Array) -> jax.Array:
        params = {**variables.params, "body": body}
        found: jax.Array = nnx.merge(network.graph_train, params, variables.statistics).features(x)
        return found

    return features


def measure_steps(
    run: RunDirectory,
    steps: Sequence[int],
    how: KernelConfig | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
    announce: Callable[[int, Forecast], object] | None = None,
    prepared: Prepared | None = None,
) -> Iterator[tuple[int, Measurement, bool]]:
    """Measure at snapshots of a run and write measurements/STEP.npz; an interrupted step goes on.

    Args:
        run: the directory.
        steps: of its snapshots.
        how: settings; a step that was measured with these is kept, and one that lacks some of the quantities is
            measured with its own and these. None: the run's own, and what was measured in whatever way is kept.
        progress: called with (what, done, in all).
        overwrite: measure again what was measured with other settings.
        announce: called with each step and how long it will take, before it is measured.
        prepared: what `prepare` gives for the run's configuration, where that is known already.

    Yields:
        The step, what was found, and whether it was measured now; what was kept comes without its large arrays.

    Raises:
        InputError: a step was measured with other settings, and `overwrite` is not given.
    """
    plans = [(step, _planned(run, step, how, overwrite)) for step in steps]
    if all(wanted is None for _, wanted in plans):
        yield from ((step, _kept(run, step), False) for step, _ in plans)
        return

    def said(what: str, done: float, total: float) -> None:
        progress(f"kernels, {what}", done, total)

    dataset, network = prepared or prepare(run.config)
    template = start(network, run.config.training)
    for step, wanted in plans:
        if wanted is None:
            yield step, _kept(run, step), False
            continue
        began = time.perf_counter()
        variables = run.read_train_state(step, template).variables
        say = None if announce is None else partial(announce, step)
        found = measure_snapshot(
            network, variables, dataset, wanted, run.config.seed, _chunks(run, step), said, say
        )
        # The chunks go when the whole is written: a kill in between measures nothing twice.
        run.write_measurement(step, found, wanted, time.perf_counter() - began)
        _remove_chunks(run, step)
        yield step, found, True


def _kept(run: RunDirectory, step: int) -> Measurement:
    # A kill between the measurement and their removal leaves its chunks.
    _remove_chunks(run, step)
    return run.measurement(step, LARGE)


def _chunks(run: RunDirectory, step: int) -> FolderStore:
    return FolderStore(run.measurement_path(step).parent / f".chunks-{step}")


def _remove_chunks(run: RunDirectory, step: int) -> None:
    shutil.rmtree(_chunks(run, step).path, ignore_errors=True)


def _planned(run: RunDirectory, step: int, how: KernelConfig | None, overwrite: bool) -> KernelConfig | None:
    """What to measure at a step; None where that has been done."""
    known = run.measurement_path(step).exists()
    if how is None:
        return None if known else run.config.kernels
    if not known or overwrite:
        return how
    before = run.measured_how(step)
    if not how.gives_the_numbers_of(before):
        raise InputError(
            "overwrite",
            False,
            f"step {step} was measured with other settings",
            "give these again, or --overwrite",
        )
    both = how.with_quantities(*before.quantities)
    return None if set(both.quantities) == set(before.quantities) else both
