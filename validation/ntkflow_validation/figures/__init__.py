"""Figures of what was predicted of a training, and of measured kernels."""
