"""What `ntkflow fit` reads: trajectories of features and of linear layers."""
