"""Integrating L linear layers: the run, its solution and the named series (theory 18)."""
