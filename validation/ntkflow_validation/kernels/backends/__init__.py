"""Derivatives of features by parameters, in JAX and in PyTorch, and the layers found in a network."""
