"""A run as a whole: configuration, simulation, summary, agreement with the theory, files, figures, ensembles."""
