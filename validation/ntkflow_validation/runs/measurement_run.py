"""Everything that can be measured at the snapshots of a run, written beside them under measurements/."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ntkflow._types import Json
from ntkflow.errors import InputError
from ntkflow.progress import Progress, silent
from ntkflow.runs.files import write_arrays, write_json
from ntkflow_validation.datasets import Dataset
from ntkflow_validation.kernels import FolderStore, JaxBackend, Measurement, measure
from ntkflow_validation.kernels.arguments import CHEAP
from ntkflow_validation.kernels.forecast import Forecast
from ntkflow_validation.models.base import Network, Variables
from ntkflow_validation.runs.rundir import RunDirectory
from ntkflow_validation.training.train import head, start

Announce = Callable[[Forecast], object]


# What the panes of a kernel figure show.
FIGURE_QUANTITIES = ("outputs", "pair-norms", "output-pair-norms")


@dataclass(frozen=True)
class Settings:
    """How to measure; see `ntkflow_validation.kernels.measure`.

    Args:
        method: entry of METHODS.
        memory: what it may use.
        quantities: entries of QUANTITIES, or None for those that are cheap.
        neurons: the first so many; None for all.
        per_class: samples of each class; None for all.
        probes: random directions.
        bn: eval, recalibrated or batch.
        seed: of the probes.
    """

    method: str = "auto"
    memory: str = "2GiB"
    quantities: tuple[str, ...] | None = None
    neurons: int | None = None
    per_class: int | None = None
    probes: int = 16
    bn: str = "eval"
    seed: int = 0


def measure_snapshot(
    network: Network,
    variables: Variables,
    dataset: Dataset,
    settings: Settings,
    store: FolderStore | None = None,
    progress: Progress = silent,
    announce: Announce | None = None,
) -> Measurement:
    """Kernels of the body's parameters, with the network's own head.

    Args:
        network: structure.
        variables: parameters and statistics to measure at.
        dataset: training samples.
        settings: how; with bn "recalibrated" the statistics are first those of all training samples, one batch.
        store: keeps finished chunks.
        progress: called as they are finished.
        announce: called beforehand with how long it will take.

    Raises:
        InputError: see `ntkflow_validation.kernels.measure`.
    """
    variables.check_finite()
    W, b = head(variables)
    options = asdict(settings)
    if settings.bn == "recalibrated":
        statistics = jax.jit(network.calibrated)(*variables, jnp.asarray(dataset.x))
        variables = variables._replace(statistics=statistics)
    function = batch_features(network) if settings.bn == "batch" else network.body_features
    backend = JaxBackend(function, variables.params["body"], variables)
    return measure(
        backend,
        None,
        dataset.x,
        dataset.labels,
        head=(W, b),
        store=store,
        progress=progress,
        announce=announce,
        **options,
    )


@lru_cache(maxsize=8)
def batch_features(network: Network) -> Callable[[Any, Variables, jax.Array], jax.Array]:
    """Features with normalisation by the statistics of the batch itself."""

    def features(body: Any, variables: Variables, x: jax.Array) -> jax.Array:
        params = {**variables.params, "body": body}
        return nnx.merge(network.graph_train, params, variables.statistics).features(x)

    return features


def measure_in_full(
    run: RunDirectory,
    steps: Sequence[int],
    dataset: Dataset,
    network: Network,
    settings: Settings,
    progress: Progress = silent,
    overwrite: bool = False,
    announce: Callable[[int, Forecast], object] | None = None,
) -> Iterator[tuple[int, Measurement | None, Json]]:
    """Measure at each step and write measurements/STEP.json and .npz; an interrupted step goes on.

    `announce` is called with each step and how long it will take, before it is measured.

    A step that was measured with these settings is kept; one that lacks some of the quantities is measured
    with its own and these.

    Yields:
        The step, what was found (None when it was kept), and its document.

    Raises:
        InputError: a step was measured with other settings, and `overwrite` is not given.
    """
    plans = [(step, *_planned(run, step, settings, overwrite)) for step in steps]
    template = start(network, run.config.training)
    folder = run.path / "measurements"
    for step, wanted, known in plans:
        store = FolderStore(folder / f".chunks-{step}")
        if known is not None:
            # A kill between the document and this leaves them.
            shutil.rmtree(store.path, ignore_errors=True)
            yield step, None, known
            continue
        began = time.perf_counter()
        state = run.read_train_state(step, template)
        say = None if announce is None else partial(announce, step)
        found = measure_snapshot(network, state.variables, dataset, wanted, store, progress, say)
        seconds = time.perf_counter() - began
        document = {"step": step, "seconds": seconds, "settings": asdict(wanted), **found.to_dict()}
        folder.mkdir(exist_ok=True)
        arrays: dict[str, np.ndarray] = found.arrays()
        write_arrays(folder / f"{step}.npz", arrays)
        write_json(folder / f"{step}.json", document)
        shutil.rmtree(store.path, ignore_errors=True)
        yield step, found, document


def _planned(
    run: RunDirectory, step: int, settings: Settings, overwrite: bool
) -> tuple[Settings, Json | None]:
    """What to measure at a step, and the document of it where that has been done."""
    known = run.read_json(f"measurements/{step}.json")
    if not known or overwrite:
        return settings, None
    before = Settings(**known["settings"])
    before = replace(before, quantities=None if before.quantities is None else tuple(before.quantities))
    # How much memory it may use changes no number.
    if replace(before, quantities=None, memory="") != replace(settings, quantities=None, memory=""):
        raise InputError(
            "overwrite",
            False,
            f"step {step} was measured in full with other settings",
            "give these again, or --overwrite",
        )
    union = tuple(dict.fromkeys([*_names(before), *_names(settings)]))
    done = set(union) == set(_names(before))
    return replace(settings, quantities=union), known if done else None


def _names(settings: Settings) -> tuple[str, ...]:
    return CHEAP if settings.quantities is None else settings.quantities
