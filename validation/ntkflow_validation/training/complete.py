"""A configuration whose network is a user's own, with what only the network itself can tell."""

from dataclasses import replace

from ntkflow_validation import datasets
from ntkflow_validation.config.config import RunConfig


def completed(config: RunConfig, again: bool = False) -> RunConfig:
    """The configuration with features, normalisation and source of a network of one's own; others as they are.

    It imports that network's module, which runs it (docs/trust.md).

    Args:
        config: of a run.
        again: look at a network that was recorded before, too, and record it as it is now.

    Raises:
        InputError: the network cannot be made, or does not fit the data or the configuration.
    """
    if not config.model.is_own or (config.model.sha256 and not again):
        return config
    # jax, and whatever the network imports, is slow.
    from ntkflow_validation.models.own import describe

    found = describe(config.model, datasets.input_shape(config.data))
    model = replace(
        config.model, features=found.features, norm=found.norm, source=found.source, sha256=found.sha256
    )
    return replace(config, model=model)
