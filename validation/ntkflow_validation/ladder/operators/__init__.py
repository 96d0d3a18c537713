"""What each rung does to a network, as an operator on n x N matrices."""
