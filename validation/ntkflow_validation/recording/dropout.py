"""Whether a network that is recorded has dropout, which it is trained with and read without."""

from collections.abc import Iterator

from ntkflow.foreign.modules import ForeignNetwork, Framework, framework_of

SENTENCE = "dropout: trained with it, read and measured without, so that the training is not the flow of these features"


def drops(network: ForeignNetwork) -> bool:
    """Whether a module of torch, Flax NNX or Equinox has a layer of dropout; what a Linen module has cannot be seen."""
    return any(rate != 0 for rate in _rates(network))


def _rates(network: ForeignNetwork) -> Iterator[float]:
    framework = framework_of(network)
    if framework is Framework.TORCH:
        from torch.nn.modules.dropout import _DropoutNd

        yield from (layer.p for layer in network.modules() if isinstance(layer, _DropoutNd))
    elif framework is Framework.NNX:
        from flax import nnx

        yield from (layer.rate for _, layer in nnx.iter_graph(network) if isinstance(layer, nnx.Dropout))
    elif framework is Framework.EQUINOX:
        import jax
        from equinox.nn import Dropout

        leaves = jax.tree.leaves(network, is_leaf=lambda node: isinstance(node, Dropout))
        yield from (layer.p for layer in leaves if isinstance(layer, Dropout) and not layer.inference)
