"""Predicted against observed: windows, scores with errors, attribution, invariants, rates."""
