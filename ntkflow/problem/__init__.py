"""What is simulated: sizes, states, kernels, losses, decay, initial states, and the thin form of a state."""
