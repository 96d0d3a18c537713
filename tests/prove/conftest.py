"""All claims are proved once for every worker, whichever files it gets."""

import pytest

from ntkflow.prove import prove


@pytest.fixture(scope="session")
def proved():
    return prove()
