"""What is made elsewhere: modules, arrays, heads and labels of torch, JAX, Flax and Equinox, of which none is imported."""
