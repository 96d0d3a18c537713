"""The ways to a kernel: Gram matrices, class sums, probes, pairs of neurons, the full tensor."""
