"""Figures of trainings and of measured kernels."""
