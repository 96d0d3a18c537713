"""Run every script of the tour and write its picture into examples/pictures.

Run: python examples/make_pictures.py
"""

from importlib import import_module
from pathlib import Path

NAMES = (
    "invariance",
    "three_phases",
    "variability_floor",
    "algebraic_tail",
    "equal_biases",
    "imbalance",
    "weight_decay",
    "moving_kernel",
    "kernel_of_layers",
    "moving_constants",
)


def main(out: Path = Path(__file__).parent / "pictures") -> None:
    for name in NAMES:
        print(f"\n{name}")
        import_module(name).main(out=out)


if __name__ == "__main__":
    main()
