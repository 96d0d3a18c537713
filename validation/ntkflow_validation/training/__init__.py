"""The training loop, its objective, and the clock that turns steps into flow time."""
