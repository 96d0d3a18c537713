"""SVG drawing for the page: axes, curves, bars, heat maps."""
