"""What tests of damaged files have in common."""

import pytest

from tests.commands import exit_code


@pytest.fixture
def told(capsys, tmp_path):
    """Runs commands on a damaged file; says what went wrong with their answers."""

    def run(path, content, *commands):
        path.write_bytes(content)
        wrong = []
        for words in commands:
            capsys.readouterr()
            try:
                code = exit_code(*words)
            except BaseException as error:
                wrong.append(f"{words[0]}: {error!r}"[:300])
                continue
            run.codes.add(code)
            text = capsys.readouterr().err
            # A good file with a warning is no error.
            lines = [line for line in text.splitlines() if "error:" in line or "cells failed" in line]
            if code not in (0, 1, 2, 3) or "Traceback" in text or len(lines) != (code != 0):
                wrong.append(f"{words[0]}: {code}, {text[:300]!r}")
            elif code == 2 and (";" not in text or len(text) > 1500):
                wrong.append(f"{words[0]}: says no remedy, or too much: {text[:300]!r}")
        return wrong

    run.codes = set()
    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    from ntkflow_validation.config.config import DataConfig, KernelConfig, ModelConfig, RunConfig, TrainConfig
    from ntkflow_validation.pipeline.pipeline import compare_run, measure_run, train_run
    from ntkflow_validation.runs.rundir import RunDirectory

    config = RunConfig(
        data=DataConfig(name="block", classes=3, per_class=4),
        model=ModelConfig(name="linear", features=5, scale=0.7),
        training=TrainConfig(steps=60, learning_rate=0.02, reduction="sum", snapshots=5),
        kernels=KernelConfig(count=2),
    )
    run = RunDirectory.create(tmp_path_factory.mktemp("trained") / "run", config)
    train_run(run)
    measure_run(run)
    compare_run(run, rungs=("block", "sample"))
    return run.path
