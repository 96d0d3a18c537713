"""The line in Python: solutions, ensembles, states and fits to their files and back."""
