"""Real networks against the theory: train, measure the empirical kernels, predict, compare."""
