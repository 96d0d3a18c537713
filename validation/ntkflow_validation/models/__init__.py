"""Architectures: a body that gives the features h(x), then a linear head; training never asks which."""

from ntkflow_validation.models.base import Classifier, Network, Variables
from ntkflow_validation.models.cnn import ConvBody
from ntkflow_validation.models.linear import LinearBody
from ntkflow_validation.models.mlp import MlpBody
from ntkflow_validation.models.table import build

__all__ = ["Classifier", "ConvBody", "LinearBody", "MlpBody", "Network", "Variables", "build"]
