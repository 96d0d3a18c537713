"""Experiments that were stated before they were run: what is run, what was expected, what came out."""
