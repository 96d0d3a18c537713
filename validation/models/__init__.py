"""Architectures: a body that gives the features h(x), then a linear head; training never asks which."""

from validation.models.base import Classifier, Network, Variables
from validation.models.cnn import ConvBody
from validation.models.linear import LinearBody
from validation.models.mlp import MlpBody
from validation.models.table import build

__all__ = ["Classifier", "ConvBody", "LinearBody", "MlpBody", "Network", "Variables", "build"]
