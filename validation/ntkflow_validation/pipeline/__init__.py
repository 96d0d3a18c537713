"""Train, measure, predict, compare: all stages of a run in one go."""
