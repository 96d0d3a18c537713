"""The ways to a kernel: Gram matrices, class sums and class kernels, probes, pairs of neurons, the full tensor."""
