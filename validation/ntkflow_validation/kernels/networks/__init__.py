"""Networks as people have them, modules of any framework, made what a measurement takes."""
