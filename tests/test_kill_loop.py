"""The short form of the loop of kills; `python tests/kill_loop.py` is the long one."""

import pytest

from tests.kill_loop import CASES, loop


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_and_started_again_a_command_ends_as_an_undisturbed_one(name, tmp_path):
    loop(name, 2, tmp_path, tell=lambda line: None)
