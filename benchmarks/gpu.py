"""One command for a machine with a GPU, no network and a few minutes: stages in order of worth, each written down at once.

Run, from the tree and without installing it:
    python benchmarks/gpu.py --out OUT [--minutes 9] [--data FOLDER] [--wheels FOLDER] [--stages facts,steps] [--small]
The same command with the same OUT goes on: stages that are done are kept, the training from its checkpoint; OUT/run.tar of
an earlier call, copied into another OUT, does as well. OUT gets gpu.json (every number as soon as it is known), gpu.log and
run.tar (the training's checkpoint, metrics and kernels, every minute), each below 16 MiB. A stage that does not fit into the
time that is left is skipped and named, one that takes longer is ended, with what it had written. FOLDER of --data holds the
files of Fashion-MNIST; wheels are of packages that the machine lacks: it needs none for tomli_w and beartype. With --small
everything is tiny, for a CPU.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What is brought back of one file.
MOST_BYTES = 15 * 2**20
# Seconds that are kept for packing, after the last stage, and between two packings of a training.
PACKING, PACKED_EVERY = 10.0, 60.0
# Where the training is, and what it is packed into.
RUN, TAR = "NTKFLOW_GPU_RUN", "NTKFLOW_GPU_TAR"
Note = Callable[[str, Any], None]


def facts(note: Note, small: bool, left: Callable[[], float]) -> None:
    """Which machine it is."""
    del small, left
    import jax
    from ntkflow_validation.runs.documents import MadeBy

    from ntkflow.runs.border.records import document

    device = jax.devices()[0]
    note("device", {"kind": device.device_kind, "platform": device.platform, "count": len(jax.devices())})
    note("memory", (device.memory_stats() or {}).get("bytes_limit"))
    note("made_by", document(MadeBy.here()))


def steps(note: Note, small: bool, left: Callable[[], float]) -> None:
    """Seconds of an optimiser step of the paper's ResNet20: one network and K together, float32 and TensorFloat-32."""
    from dataclasses import replace

    import jax
    import jax.numpy as jnp
    import numpy as np
    from ntkflow_validation.training.together import Member, advance_of, stacked
    from ntkflow_validation.training.train import LENGTHS, make_advance, start

    config, dataset, network = _paper(small)
    m, batch = dataset.per_class, config.training.batch_per_class * dataset.classes
    count = 3 if small else LENGTHS[0]
    rows = np.random.default_rng(0).integers(0, len(dataset.x), (count, batch))
    x, labels = dataset.x_on_device, jnp.asarray(dataset.labels.astype(np.int32))

    def timed(name: str, call: Callable[[], Any], steps: int) -> None:
        began = time.perf_counter()
        jax.block_until_ready(call())
        first = time.perf_counter() - began
        best = min(_seconds(lambda: jax.block_until_ready(call())) for _ in range(3))
        note(name, {"first_call": first, "a_step": best / steps, "steps": steps})

    for precision in ("float32", "tensorfloat32"):
        recipe = replace(config.training, precision=precision)
        advance, state = make_advance(network, recipe, m, fused=True), start(network, recipe, m)
        timed(precision, lambda a=advance, s=state: a(s, x, labels, rows), count)  # type: ignore[misc]
    for K in (2,) if small else (4, 16, 32):
        if left() < 60 and not small:
            note(f"together_{K}", "no time left")
            continue
        members = [Member(config, dataset, network)] * K
        advance_all = advance_of(members, True)
        states, rates = stacked([start(network, config.training, m)] * K), jnp.full(K, 0.05)
        several = np.repeat(rows[:, None], K, axis=1)
        timed(
            f"together_{len(members)}", lambda a=advance_all, s=states, r=rates, b=several: a(r, s, b), count
        )  # type: ignore[misc]
    alone = make_advance(network, config.training, m, fused=False)
    timed(
        "one_by_one", lambda: alone(start(network, config.training, m), x, labels, rows[:20]), len(rows[:20])
    )


def kernels(note: Note, small: bool, left: Callable[[], float]) -> None:
    """Seconds of the block constants of 120 images and all neurons, and how well device and host agree."""
    del left
    from dataclasses import replace

    import numpy as np
    from ntkflow_validation.kernels.backends import jax_backend
    from ntkflow_validation.runs.measurement_run import measure_snapshot

    config, dataset, network = _paper(small)
    how = replace(config.kernels, method="gram", neurons=2 if small else 0)

    def constants(how: Any) -> np.ndarray:
        return np.array([*_constants(measure_snapshot(network, network.initial, dataset, how, 0)).values()])

    note("first_call", _seconds(lambda: constants(how)))
    note("seconds", min(_seconds(lambda: constants(how)) for _ in range(3)))
    few = replace(how, neurons=2)
    device, most = constants(few), jax_backend.CONTRACTED
    jax_backend.CONTRACTED = 0
    try:
        note("host_seconds_of_2_neurons", _seconds(lambda: constants(few)))
        note("device_against_host", float(np.abs(device / constants(few) - 1).max()))
    finally:
        jax_backend.CONTRACTED = most


class OutOfTimeError(Exception):
    """The training goes on another time."""


def training(note: Note, small: bool, left: Callable[[], float]) -> None:
    """The real thing: ResNet20 on all of Fashion-MNIST by the paper's recipe, with metrics and block constants."""
    from ntkflow_validation.runs.rundir import RunDirectory
    from ntkflow_validation.runs.training_run import train_run
    from ntkflow_validation.training.steps import total_steps

    config, folder, target = _recipe(small), *map(Path, (os.environ[RUN], os.environ[TAR]))
    packed = [time.perf_counter()]
    run = RunDirectory.create(folder, config, resume=True)
    total, began, first = total_steps(config.training, config.data.per_class), time.perf_counter(), {}

    def observed(row: Any) -> None:
        step = int(run.steps()[-1])
        first.setdefault("step", step)
        first.setdefault("seconds", time.perf_counter() - began)
        pace = (time.perf_counter() - began - first["seconds"]) / max(1, step - first["step"])
        shown = ("loss", "accuracy_train", "accuracy_test", "NC1", "NC1_tirer", "NC2", "NC3")
        note("reached", {"step": step, "of": total, **{name: row.get(name) for name in shown}})
        note("seconds_a_step_with_metrics_and_kernels", pace)
        note("minutes_for_all_steps", pace * total / 60)
        # The machine may go before its time.
        if time.perf_counter() - packed[0] > (0 if small else PACKED_EVERY):
            pack(folder, target)
            packed[0] = time.perf_counter()
        # The next snapshot must come before the end; what was written last is gone on from.
        if left() < 2 * pace * total / config.training.snapshots + PACKING:
            raise OutOfTimeError

    try:
        note("outcome", str(train_run(run, observed=observed).result))
    except OutOfTimeError:
        note("outcome", "goes on another time")
    rows = [{"step": step, **_constants(found)} for step, found in run.measurements().items()]
    note("constants", rows)


def ensembles(note: Note, small: bool, left: Callable[[], float]) -> None:
    """Members of a vmapped ensemble: seconds, and that they are what `solve` gives."""
    del left
    import numpy as np

    import ntkflow as nf
    from ntkflow.derivatives.vmapped import ensemble

    sizes, times = nf.Sizes(3, 4, 6), [0.5, 1.0]
    for count in (3,) if small else (100, 10_000):
        problems = [
            nf.Problem(sizes, nf.BlockKernel(1.0, 0.5, 0.1), nf.initial.make("gaussian", sizes, seed=k % 100))
            for k in range(count)
        ]
        note(f"first_call_{count}", _seconds(lambda p=problems: ensemble(p, times)))  # type: ignore[misc]
        note(f"seconds_{count}", _seconds(lambda p=problems: ensemble(p, times)))  # type: ignore[misc]
    found = ensemble(problems[:3], times, names=("loss",)).series["loss"]
    expected = np.array([nf.solve(p, save_at=times, rtol=1e-10).series["loss"] for p in problems[:3]])
    note("against_solve", float(np.abs(found / expected - 1).max()))


def lockstep(note: Note, small: bool, left: Callable[[], float]) -> None:
    """Cells of a phase diagram, E = 0, C = 10, through the compiled lockstep engine: what the device takes, and all together."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    import ntkflow as nf
    from ntkflow.integrate.engines.compiled.engine import CompiledLockstep
    from ntkflow.runs.ensembles import common_grid
    from ntkflow.runs.processes.executors import local_processes

    sizes, side, starts = (nf.Sizes(3, 4, 2), 3, 2) if small else (nf.Sizes(10, 12, 64), 317, 16)
    axes = np.linspace(0.3, 0.9, side), np.linspace(0.05, 0.25, side)
    kernels = [nf.BlockKernel(1.0, float(c), float(n)) for c in axes[0] for n in axes[1]]
    states = [nf.initial.make("balanced", sizes, kernels[0], seed) for seed in range(starts)]
    problems = [nf.Problem(sizes, kernel, states[k % starts]) for k, kernel in enumerate(kernels)]
    grid = common_grid([problems[0]])
    # Of one size, so that one program serves all.
    size = -(-len(problems) // (2 if small else 7))
    spent: dict[str, float] = {"seconds": 0.0, "ticks": 0, "slots": 0}
    advance = CompiledLockstep._advance

    def timed(engine: CompiledLockstep) -> Any:
        began, before = time.perf_counter(), engine.ticks
        done = advance(engine)
        spent["seconds"] += time.perf_counter() - began
        spent["ticks"] += engine.ticks - before
        spent["slots"] = engine.slots
        return done

    with ThreadPoolExecutor(2) if small else local_processes() as workers:

        def ensemble(some: list[nf.Problem]) -> nf.Ensemble:
            return nf.ensemble(some, executor=workers, times=grid, rtol=1e-6, engine="jax")

        # With the programs of all that follow.
        note("first_call", _seconds(lambda: ensemble(problems[:size])))
        CompiledLockstep._advance = timed  # type: ignore[method-assign]
        note("cells_asked_for", len(problems))
        began, cells, failed, alone, gaps = time.perf_counter(), 0, 0, 0, []
        for k in range(0, len(problems), size):
            found = ensemble(problems[k : k + size])
            cells, failed = cells + len(found), failed + len(found.failed)
            alone += sum(member.engine != "jax" for member in found.members)
            expected = nf.solve(problems[k], save_at=grid, rtol=1e-10).series["loss"]
            gaps.append(float(np.abs(found.series["loss"][0] - expected).max() / expected[0]))
            whole = time.perf_counter() - began
            note("cells", cells)
            note(
                "microseconds_a_cell", {"device": 1e6 * spent["seconds"] / cells, "all": 1e6 * whole / cells}
            )
            note("device", dict(spent))
            note("seconds_of_all", whole)
            note("steps_a_cell", float(np.mean([member.steps for member in found.members])))
            note("failed", failed)
            note("solved_alone", alone)
            note("against_solve", max(gaps))
            if left() < 1.2 * whole * size / cells + PACKING:
                break


def tests(note: Note, small: bool, left: Callable[[], float]) -> None:
    """The tests that are about accelerators."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-n", "0", "-p", "no:cacheprovider"]
    where = "tests/validation/test_gpu.py"
    try:
        done = subprocess.run(
            [*command, where], cwd=ROOT, capture_output=True, text=True, timeout=max(5.0, left())
        )
    except subprocess.TimeoutExpired:
        note("outcome", "out of time")
        return
    del small
    print(done.stdout[-4000:], done.stderr[-4000:])
    note("exit_code", done.returncode)
    note("outcome", done.stdout.strip().splitlines()[-1:] or done.stderr[-500:])
    if done.returncode:
        raise SystemExit(done.returncode)


# Stages in order of worth, with the least seconds that they are begun for.
STAGES: dict[str, tuple[Callable[[Note, bool, Callable[[], float]], None], float]] = {
    "facts": (facts, 20.0),
    "steps": (steps, 60.0),
    "kernels": (kernels, 60.0),
    "training": (training, 90.0),
    "lockstep": (lockstep, 60.0),
    "ensembles": (ensembles, 40.0),
    "tests": (tests, 60.0),
}
# Of the time, what is kept for the stages after the training, which takes all that it is given.
AFTER_TRAINING = 0.2


def _recipe(small: bool) -> Any:
    """The paper's recipe; H is observed on the images of the kernels, so that 200 snapshots can be brought back."""
    from dataclasses import replace

    from ntkflow_validation.config.presets import preset

    config = preset("tiny" if small else "paper")
    if small:
        return replace(config, kernels=replace(config.kernels, while_training=True))
    return replace(config, data=replace(config.data, probe_per_class=12))


def _paper(small: bool) -> Any:
    """The recipe with random images as many as there are real ones, and its network."""
    import numpy as np
    from ntkflow_validation.datasets import Dataset
    from ntkflow_validation.models import build

    config, rng = _recipe(small), np.random.default_rng(0)
    C, m, shape = config.data.classes, config.data.per_class, (8, 8, 1) if small else (28, 28, 1)
    x = rng.normal(size=(C * m, *shape)).astype(np.float32)
    dataset = Dataset(x, np.repeat(np.arange(C), m), x[:C], np.arange(C), C, 0, config.data.probe_per_class)
    return config, dataset, build(config.model, shape, C, 0)


def _constants(found: Any) -> dict[str, float]:
    """Of the features' kernel, whatever their order."""
    return {f"kappa_{name}": float(found.features.constants[name].value) for name in "dcn"}


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def read(path: Path) -> dict[str, Any]:
    """What is known so far, by stage."""
    return json.loads(path.read_text()) if path.is_file() else {}


def write(path: Path, stage: str, numbers: dict[str, Any]) -> None:
    """What is known of one stage beside the others; a file that is there is whole."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({**read(path), stage: numbers}, indent=1))
    part.replace(path)


def work(name: str, path: Path, small: bool, seconds: float) -> None:
    """One stage, in a process of its own; every number is in the file before the next is measured."""
    # A training goes on, and keeps what is known of it.
    kept = read(path).get(name, {}) if name == "training" else {}
    deadline, found = time.monotonic() + seconds, {**kept, "state": "cut off"}
    write(path, name, found)

    def note(key: str, value: Any) -> None:
        found[key] = value
        print(f"  {name}.{key}: {str(value)[:200]}", flush=True)
        write(path, name, found)

    STAGES[name][0](note, small, lambda: deadline - time.monotonic())


def pack(folder: Path, target: Path) -> list[str]:
    """What the training goes on from, then its numbers, newest first, as far as they fit; the names of what did not."""
    if not folder.is_dir():
        return []
    parameters = sorted(folder.glob("parameters/*"))[-1:]
    states = sorted(folder.glob("snapshots/*"), reverse=True)
    plain = [path for path in folder.iterdir() if path.is_file() and path.name != "lock"]
    left, kept, out = MOST_BYTES, [], []
    for path in [*plain, *parameters, *states, *sorted(folder.glob("measurements/*"), reverse=True)]:
        if path.stat().st_size < left - 1024:
            left -= path.stat().st_size + 1024
            kept.append(path)
        else:
            out.append(str(path.relative_to(folder)))
    with tarfile.open(target.with_suffix(".part"), "w") as archive:
        for path in kept:
            archive.add(path, arcname=str(path.relative_to(folder)))
    target.with_suffix(".part").replace(target)
    return out


def unpack(source: Path, folder: Path) -> None:
    """A training of an earlier call."""
    if source.is_file() and not folder.is_dir():
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        for name in ("snapshots", "parameters", "figures"):
            (folder / name).mkdir(exist_ok=True)


def lacks(module: str) -> bool:
    """Whether this machine has none of it."""
    try:
        importlib.import_module(module)
    except ImportError:
        return True
    return False


def environment(arguments: argparse.Namespace, scratch: Path) -> dict[str, str]:
    """Of the stages' processes: the tree, wheels of what is missing, data, and programs that later stages find compiled."""
    wheels = [str(path) for path in sorted(Path(arguments.wheels).glob("*.whl"))] if arguments.wheels else []
    if lacks("tomli_w") and not any(Path(path).name.startswith("tomli_w-") for path in wheels):
        wheels.append(str(ROOT / "benchmarks" / "stand_ins"))
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "validation"), *wheels, *inherited]),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(scratch / "compiled")),
        # Shapes are checked elsewhere, by a package that this machine may lack.
        "NTKFLOW_SHAPES": "none",
        RUN: str(scratch / "run"),
        TAR: str(Path(arguments.out).resolve() / "run.tar"),
    }
    return {**found, "NTKFLOW_DATA": str(Path(arguments.data).resolve())} if arguments.data else found


def run_stage(
    name: str, arguments: argparse.Namespace, scratch: Path, seconds: float, log: Any
) -> dict[str, Any]:
    """A stage in a process that is ended when its time is up."""
    path = Path(arguments.out).resolve() / "gpu.json"
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--work",
        name,
        str(path),
        "--minutes",
        str(seconds / 60),
    ]
    command += ["--small"] if arguments.small else []
    began = time.perf_counter()
    try:
        ended = subprocess.run(
            command, cwd=ROOT, stdout=log, stderr=log, timeout=seconds + PACKING / 2, env=environment(arguments, scratch)
        )  # fmt: skip
        state = "done" if ended.returncode == 0 else f"failed with exit code {ended.returncode}, see gpu.log"
    except subprocess.TimeoutExpired:
        state = "out of time"
    seconds = round(time.perf_counter() - began, 2)
    return {**read(path).get(name, {}), "state": state, "seconds": seconds}


def shorten(path: Path) -> None:
    """The end of a log that has become too long to be brought back."""
    if path.stat().st_size > MOST_BYTES:
        path.write_bytes(path.read_bytes()[-MOST_BYTES // 2 :])


def allowed(name: str, wanted: list[str], left: float) -> float:
    """Seconds that a stage may take; 0 where it should not be begun."""
    least = STAGES[name][1]
    after = wanted[wanted.index(name) + 1 :]
    kept = AFTER_TRAINING * left if name == "training" and after else 0.0
    return left - kept if left - kept >= least else 0.0


def main() -> None:
    """Run what there is time for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="gpu-check")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--data")
    parser.add_argument("--wheels")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work[0], Path(arguments.work[1]), arguments.small, 60 * arguments.minutes)
        return
    wanted = [name for name in arguments.stages.split(",") if name]
    if unknown := set(wanted) - set(STAGES):
        parser.error(f"--stages: there is no {', '.join(sorted(unknown))}; use {', '.join(STAGES)}")
    deadline, out = time.monotonic() + 60 * arguments.minutes - PACKING, Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    target = out / "gpu.json"
    found = read(target)
    with tempfile.TemporaryDirectory() as name, (out / "gpu.log").open("a") as log:
        scratch = Path(name)
        unpack(out / "run.tar", scratch / "run")
        for stage in wanted:
            before = found.get(stage, {})
            # A training that has not come to its end goes on.
            if before.get("state") == "done" and before.get("outcome") != "goes on another time":
                continue
            left = deadline - time.monotonic()
            if not (seconds := allowed(stage, wanted, left)):
                skipped = {"state": f"skipped: needs {STAGES[stage][1]:g} s, {max(left, 0):.0f} s are left"}
                found[stage] = before or skipped
            else:
                found[stage] = run_stage(stage, arguments, scratch, seconds, log)
            if stage == "training" and (scratch / "run").is_dir():
                found[stage]["not_packed"] = pack(scratch / "run", out / "run.tar")
            write(target, stage, found[stage])
            print(f"{stage}: {found[stage]['state']}", flush=True)
    shorten(out / "gpu.log")


if __name__ == "__main__":
    main()
