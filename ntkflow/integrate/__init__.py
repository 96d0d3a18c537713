"""From a problem to a solution: engines, stop conditions, saved times, trust, series along a trajectory."""
