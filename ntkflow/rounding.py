"""Whole numbers out of float quotients: how many steps of 0.0003 make 0.003."""

import math

# Decimal numbers, and differences such as 1 - 0.999, reach a quotient with relative errors far below this; nobody
# wants one more step for so small a share of a step.
SLACK = 1e-9


def whole_up(quotient: float) -> int:
    """The least whole number that reaches a positive quotient, up to `SLACK` of it.

    >>> 0.003 / 0.0003, whole_up(0.003 / 0.0003)
    (10.000000000000002, 10)
    """
    nearest = round(quotient)
    return max(1, nearest if abs(quotient - nearest) <= SLACK * quotient else math.ceil(quotient))
