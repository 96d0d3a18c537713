"""A sweep of trainings on a SLURM cluster: one dask worker a GPU, each taking one training after the other.

The scheduler lives in this script, so run it where it may stay, such as a login node in tmux, or submit it itself
with a long time limit. Workers that SLURM ends cost nothing but the minutes since their last checkpoint: other
workers take their trainings on, and the same command again goes on where this one was ended.

What follows `--` is handed to `ntkflow validate sweep`; the sweep's directory has to lie on a file system that all
nodes see.

Run: python examples/cluster/slurm_sweep.py --queue gpu --jobs 8 -- --preset paper --pair resnet20/mnist --out sweep
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from dask_jobqueue import SLURMCluster
from distributed import LocalCluster


def cluster_of(options: argparse.Namespace) -> Any:
    """A cluster whose workers take one training at a time; `--local` makes them processes of this machine."""
    if options.local:
        return LocalCluster(
            options.jobs, threads_per_worker=1, memory_limit=options.memory, dashboard_address=None
        )
    gpus = [f"--gres=gpu:{options.gpus}"] if options.gpus else []
    return SLURMCluster(
        queue=options.queue,
        account=options.account,
        job_extra_directives=gpus,
        cores=1,
        processes=1,
        memory=options.memory,
        walltime=options.walltime,
        # A GPU is shared with nobody; JAX takes memory as it needs it.
        # Nothing is imported from the folder a worker starts in.
        job_script_prologue=[
            "export XLA_PYTHON_CLIENT_PREALLOCATE=false",
            "export OMP_NUM_THREADS=1",
            "export PYTHONSAFEPATH=1",
        ],
    )


def parse(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options of this script, and the words behind `--`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queue", help="SLURM partition")
    parser.add_argument("--account", help="SLURM account")
    parser.add_argument("--jobs", type=int, default=4, help="workers, each a job of its own")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs of each job; 0 for CPU nodes")
    parser.add_argument("--memory", default="16GB")
    parser.add_argument("--walltime", default="08:00:00")
    parser.add_argument("--local", action="store_true", help="workers on this machine, to try the script")
    parser.add_argument("--print", action="store_true", help="print the job script and stop")
    own = list(words)
    rest = own[own.index("--") + 1 :] if "--" in own else []
    options = parser.parse_args(own[: own.index("--")] if "--" in own else own)
    if options.local and options.print:
        parser.error("--local submits no job whose script could be printed: drop --local or --print")
    return options, rest


def main(words: Sequence[str] | None = None) -> int:
    """Start workers and the sweep; returns the sweep's exit code."""
    options, sweep = parse(sys.argv[1:] if words is None else words)
    with cluster_of(options) as cluster:
        if options.print:
            print(cluster.job_script())
            return 0
        if not options.local:
            cluster.scale(jobs=options.jobs)
        command = [
            sys.executable,
            "-P",
            "-m",
            "ntkflow",
            "validate",
            "sweep",
            "--scheduler",
            cluster.scheduler_address,
            *sweep,
        ]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
