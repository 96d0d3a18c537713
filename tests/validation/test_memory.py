"""What a tile needs is told from its operations; what compilers make of it is the known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ntkflow_validation.kernels.backends import jax_backend
from ntkflow_validation.memory import MARGIN, needed_bytes

from tests.validation.kernels.backends.test_layers import backend
from tests.validation.kernels.nets import cnn, dense, inputs, mlp, parameters, residual

LABELS = np.repeat([0, 1], 8)


def needed(function, *shapes):
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    inside, results = needed_bytes(jax.make_jaxpr(function)(*given))
    return inside / MARGIN / 4, results / 4


def test_known_answers():
    # Arguments are there already, and a result has a place of its own.
    assert needed(lambda x: x, (5,)) == (0, 5)
    assert needed(lambda x: x + 1, (5,)) == (0, 5)
    # In place, and freed once used: one at a time.
    assert needed(lambda x: jnp.sin(jnp.exp(x) * 2).sum(), (100,)) == (200, 1)
    assert needed(lambda x: jnp.exp(x) * 2 + x, (100,)) == (100, 100)
    # Both are alive until the sum, seen as they may be in between.
    assert needed(lambda x: jnp.dot(jnp.sin(x).reshape(10, 10), jnp.cos(x).reshape(10, 10)), (100,)) == (
        300,
        100,
    )
    # What a loop does inside.
    assert needed(lambda x: jax.lax.map(lambda y: jnp.sin(jnp.cos(y)).sum(), x), (3, 50))[0] >= 50


@pytest.mark.parametrize(
    ("kind", "net", "B", "k"),
    [
        ("pull", cnn, 16, 4),
        ("rows", mlp, 8, 4),
        pytest.param("rows", residual, 4, 2, marks=pytest.mark.slow),
        pytest.param("factors", dense, 8, 2, marks=pytest.mark.slow),
    ],
)
def test_it_is_at_least_what_the_compiled_program_needs(kind, net, B, k):
    x, found = inputs(LABELS), backend(net, parameters(net), inputs(LABELS))
    told = found._needed(kind, x[:B], k)
    found._executable(kind, x[:B], found._directions(kind, x[:B], k))
    assert found._needed(kind, x[:B], k) <= told <= 3 * found._needed(kind, x[:B], k)


def programs(found):
    """How many it has compiled."""
    return sum(hasattr(known, "memory_analysis") for known in found._known.values())


def test_no_tile_is_compiled_to_be_rejected():
    x, found = inputs(LABELS), backend(lambda p, x: 3 * mlp(p, x), parameters(mlp), inputs(LABELS))
    most = 2**15
    B, k = found.tile(x, 4, most)
    # A quarter of what it has without a limit.
    assert 1 < B * k <= 16
    assert programs(found) == 1
    # It is the one that is run, and found again.
    found.rows(x[:B], np.eye(4)[:k])
    assert found.tile(x, 4, most) == (B, k)
    assert programs(found) == 1
    B, k = found.batch(x, 4, most // 8)
    assert 1 < B * k < 64
    assert programs(found) == 2
    # Whether a whole batch fits compiles nothing.
    assert found.pull_bytes(x, 2) > most // 8
    assert programs(found) == 2


@pytest.mark.slow
def test_a_program_that_needs_more_than_its_operations_promise_is_not_run(monkeypatch):
    x, found = inputs(LABELS), backend(lambda p, x: 5 + mlp(p, x), parameters(mlp), inputs(LABELS))
    monkeypatch.setattr(jax_backend, "needed_bytes", lambda closed: (0, 0))
    limit = 2**15
    B, k = found.tile(x, 4, limit)
    assert programs(found) > 1
    assert found._needed("rows", x[:B], k) <= limit
