"""Numbers of an observed network: collapse, invariant, predicted against observed."""
