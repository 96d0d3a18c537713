"""Networks as people have them, modules of any framework with their heads and labels, made what a measurement takes."""
