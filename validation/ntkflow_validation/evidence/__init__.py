"""A finished run as a small document, what moved its invariant, how features answer to decay."""
