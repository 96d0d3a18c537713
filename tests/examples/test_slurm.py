"""The SLURM script makes jobs of the right kind; no SLURM is needed to see them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dask_jobqueue")
pytestmark = pytest.mark.filterwarnings("ignore")
SCRIPT = Path(__file__).parents[2] / "examples" / "cluster" / "slurm_sweep.py"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("slurm_sweep", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_jobs_are_workers_of_one_training_on_one_gpu(script, capsys):
    words = ["--queue", "gpu", "--walltime", "04:00:00", "--print", "--", "--preset", "paper"]
    assert script.main(words) == 0
    job = capsys.readouterr().out
    for line in ("#SBATCH -p gpu", "#SBATCH -t 04:00:00", "#SBATCH --gres=gpu:1", "#SBATCH -n 1"):
        assert line in job
    assert "--nthreads 1" in job
    assert "XLA_PYTHON_CLIENT_PREALLOCATE=false" in job


def test_what_follows_two_dashes_goes_to_the_sweep(script):
    options, rest = script.parse(["--jobs", "3", "--", "--out", "s", "--seeds", "2"])
    assert (options.jobs, rest) == (3, ["--out", "s", "--seeds", "2"])


@pytest.mark.slow
def test_on_this_machine_it_runs_a_sweep(tmp_path):
    """As its readers try it; a process of its own, since the workers are started from its file."""
    (tmp_path / "base.toml").write_text(
        'data = {name = "block", classes = 2, per_class = 3}\nmodel = {name = "linear", features = 3}\n'
        "training = {steps = 4, snapshots = 2}\nkernels = {count = 1}\n"
    )
    options = ["--local", "--jobs", "1", "--memory", "2GB", "--", "--config", tmp_path / "base.toml"]
    command = [sys.executable, SCRIPT, *options, "--learning-rates", "0.01,0.1", "--out", tmp_path / "s"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "2 of 2 trainings done" in ended.stdout


def test_there_is_no_job_script_of_this_machine(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--local", "--print"])
    assert "drop --local or --print" in capsys.readouterr().err
