"""The line in Python: solutions, ensembles, states and fits to their files and back, and over each other in figures."""
