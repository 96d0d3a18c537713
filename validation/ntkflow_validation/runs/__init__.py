"""Run directories: what a training and its measurements leave on disk, and how they resume."""
