"""Processes and what differs between systems: locks, workers, children that import nothing from the current folder."""
