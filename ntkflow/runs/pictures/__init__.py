"""Figures of runs and ensembles, and the process that draws them."""
