"""A user's own network by name, module:object: found, made, looked over, and made a body of the trainings here."""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import errors as flax_errors
from flax import linen, nnx
from jaxtyping import PyTree

from ntkflow import named
from ntkflow.errors import InputError
from ntkflow.foreign.modules import ForeignNetwork, Framework, framework_of
from ntkflow_validation.config.config import ModelConfig
from ntkflow_validation.models.wrapped import FLAGS, EquinoxBody, LinenBody
from ntkflow_validation.normalisation.linen import STATISTICS
from ntkflow_validation.own.data import sha256_of

KINDS = "a class or function that makes a network of NNX, Linen or Equinox, or a Linen module"
RANDOM = "draws random numbers in training (dropout), which the theory's flow has none of"


class SourceWarning(UserWarning):
    """The source of a run's network is not what it was when the run was made."""


@dataclass(frozen=True)
class Described:
    """What is known of a network once it has been made.

    Attributes:
        features: n.
        norm: "batch" with running statistics, "none" without.
        source: file of its module.
        sha256: of that file.
    """

    features: int
    norm: str
    source: str
    sha256: str


def describe(config: ModelConfig, input_shape: tuple[int, ...]) -> Described:
    """Make the network of a configuration and look it over.

    Raises:
        InputError: it cannot be imported or made, or does not fit the inputs.
    """
    body = make(config, input_shape, 0)
    path = _source(config)
    norm = "batch" if jax.tree.leaves(nnx.split(body, nnx.BatchStat, ...)[1]) else "none"
    return Described(features_of(body, config, input_shape), norm, str(path), sha256_of(path))


def make(config: ModelConfig, input_shape: tuple[int, ...], seed: int) -> nnx.Module:
    """The body, freshly initialised.

    Raises:
        InputError: as `describe`.

    Warns:
        SourceWarning: its source has changed since the configuration was recorded.
    """
    found = _object(config)
    made = found if isinstance(found, linen.Module) else _called(config, found, input_shape, seed)
    body = _body(config, made, input_shape, seed)
    _refuse_strange(config, body)
    return body


def _object(config: ModelConfig) -> ForeignNetwork:
    if config.source:
        # Where it was when the run was made, before where one works now.
        named.search(_root(config))
    named.search(Path.cwd())
    found = named.imported("model.name", config.name)
    path = _source(config)
    if config.sha256 and sha256_of(path) != config.sha256:
        warnings.warn(
            f"{path} is not what model.sha256 was recorded of ({sha256_of(path)}, not {config.sha256}): the network of "
            f"{config.name} may be another one",
            SourceWarning,
            stacklevel=3,
        )
    return found


def _root(config: ModelConfig) -> Path:
    """The folder from which the recorded file is imported under its module's name."""
    path, module = Path(config.source), config.name.partition(":")[0]
    up = module.count(".") + (path.name == "__init__.py")
    return path.parents[min(up, len(path.parents) - 1)]


def _source(config: ModelConfig) -> Path:
    module = sys.modules[config.name.partition(":")[0]]
    if not getattr(module, "__file__", None):
        raise _refusal(config, "is in a module without a file", "write it into one")
    return Path(str(module.__file__)).resolve()


def _called(
    config: ModelConfig, maker: ForeignNetwork, input_shape: tuple[int, ...], seed: int
) -> ForeignNetwork:
    if not callable(maker) or isinstance(maker, nnx.Module) or not _makes(maker):
        rule = f"is {type(maker).__name__}, and not {KINDS}"
        raise _refusal(config, rule, "its weights must come from the seed: name what makes it")
    given: dict[str, Callable[[], object]] = {
        "rngs": lambda: nnx.Rngs(seed),
        "key": lambda: jax.random.key(seed),
        "input_shape": lambda: input_shape,
    }
    try:
        # Classes of these frameworks are called through a class of theirs, whose signature tells nothing.
        told = getattr(maker, "__init__") if isinstance(maker, type) else maker  # noqa: B009
        wanted = inspect.signature(told).parameters
        return maker(**{name: make() for name, make in given.items() if name in wanted})
    except InputError:
        raise
    except Exception as error:
        rule = f"cannot be made with rngs=, key= or input_shape= alone ({_words(error)})"
        raise _refusal(
            config, rule, "give its other arguments a value, or name a function that does"
        ) from None


def _makes(maker: object) -> bool:
    """Whether it is a class or a function; an Equinox module is callable too, and made already."""
    return isinstance(maker, type) or framework_of(maker) is not Framework.EQUINOX


def _body(config: ModelConfig, made: ForeignNetwork, input_shape: tuple[int, ...], seed: int) -> nnx.Module:
    if isinstance(made, linen.Module):
        return LinenBody(made, _linen_variables(config, made, input_shape, seed))
    if framework_of(made) is Framework.EQUINOX:
        return EquinoxBody(_stateless(config, made))
    if isinstance(made, nnx.Module):
        return made
    raise _refusal(config, f"gives {type(made).__name__}, which is no network", f"name {KINDS}")


def _linen_variables(
    config: ModelConfig, module: linen.Module, input_shape: tuple[int, ...], seed: int
) -> PyTree:
    x = jnp.zeros((2, *input_shape), jnp.float32)
    with _applied(config, input_shape):
        variables = module.init(jax.random.key(seed), x)
    strange = sorted(set(variables) - {"params", STATISTICS})
    if strange:
        raise _refusal(config, f"has the collection {strange[0]!r}", "only params and batch_stats are kept")
    flags = inspect.signature(type(module).__call__).parameters
    if STATISTICS in variables and not any(name in FLAGS for name in flags):
        rule = "has batch_stats, and its __call__ is not told whether it trains"
        raise _refusal(config, rule, f"give it one of {', '.join(FLAGS)}")
    return variables


def _stateless(config: ModelConfig, module: ForeignNetwork) -> ForeignNetwork:
    import equinox

    def special(node: object) -> bool:
        return isinstance(node, equinox.nn.Dropout | equinox.nn.StateIndex)

    for node in jax.tree.leaves(module, is_leaf=special):
        if isinstance(node, equinox.nn.StateIndex):
            rule = "keeps a state (equinox.nn.State, as of BatchNorm)"
            raise _refusal(config, rule, "use GroupNorm or LayerNorm, or write it in NNX or Linen")
        if isinstance(node, equinox.nn.Dropout) and not node.inference and node.p != 0:
            raise _refusal(config, RANDOM, "leave Dropout out, or give it inference=True")
    return module


def _refuse_strange(config: ModelConfig, body: nnx.Module) -> None:
    for path, variable in nnx.iter_graph(body):
        if isinstance(variable, nnx.RngState):
            where = ".".join(str(part) for part in path)
            rule = f"keeps random numbers ({where}): it {RANDOM}"
            raise _refusal(config, rule, "leave dropout out, and keep no rngs in the module")
    parameters = jax.tree.leaves(nnx.split(body, nnx.Param, ...)[1])
    if not parameters:
        raise _refusal(config, "has no parameters", "the features' kernel is that of its parameters")
    strange = next((leaf.dtype for leaf in parameters if leaf.dtype != jnp.float32), None)
    if strange is not None:
        raise _refusal(config, f"has parameters of type {strange}", "make them float32")


def features_of(body: nnx.Module, config: ModelConfig, input_shape: tuple[int, ...]) -> int:
    """The n of a body that takes these inputs, without computing; in training and in inference.

    Raises:
        InputError: it does not take them, gives anything but one vector a sample, or other
            features than are asked for.
    """
    x = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
    modes: tuple[Callable[[], object], ...] = (body.train, body.eval)
    for mode in modes:
        mode()
        structure, state = nnx.split(body)
        with _applied(config, input_shape):
            found = jax.eval_shape(lambda s, x, g=structure: nnx.merge(g, s)(x), state, x)
        shape = getattr(found, "shape", None)
        if shape is None or len(shape) != 2 or shape[0] != 2 or found.dtype != jnp.float32:
            what = type(found).__name__ if shape is None else f"{found.dtype} of shape {shape}"
            rule = f"gives {what} for 2 inputs of shape {input_shape}, and not 2 float32 vectors of features"
            raise _refusal(
                config, rule, "return the features (B, n); Equinox: (n,) of one sample; the head is ours"
            )
        n = int(shape[1])
    if config.features not in (0, n):
        rule = f"{config.name} gives {n} features"
        raise InputError("model.features", config.features, rule, "leave it out")
    return n


@contextmanager
def _applied(config: ModelConfig, input_shape: tuple[int, ...]) -> Iterator[None]:
    """Whatever a network raises when it is applied becomes one sentence."""
    try:
        yield
    except InputError:
        raise
    except flax_errors.InvalidRngError:
        raise _refusal(config, RANDOM, "leave dropout out, or switch it off in its __call__") from None
    except Exception as error:
        rule = f"does not run on inputs of shape {input_shape} ({_words(error)})"
        raise _refusal(config, rule, "fit it to the data (a function may take input_shape=)") from None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _refusal(config: ModelConfig, rule: str, remedy: str) -> InputError:
    return InputError("model.name", config.name, rule, remedy)
