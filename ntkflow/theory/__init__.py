"""What can be said before integrating: limits, rates, bounds, conditions, closed forms."""
