"""ntkflow: simulate, test and extend the theory of Neural (Tangent Kernel) Collapse."""

__version__ = "0.1.0"
