"""Lambert's W on the logarithmic scale, where its arguments cannot overflow."""

import math

# Newton doubles the digits at every step; far starts need a handful more.
STEPS = 60


def lambert_w_of_exp(z: float) -> float:
    """W(e^z), the w > 0 with w + ln w = z, for every real z.

    >>> lambert_w_of_exp(1.0)
    1.0
    >>> round(lambert_w_of_exp(1e6), 6)
    999986.184503
    """
    if z == math.inf:
        return z
    if z < -700:
        # e^z is the answer to all digits, or underflows with it.
        return math.exp(z)
    # A start below the root; w + ln w is concave and rising, so Newton's steps rise to it.
    w = z - math.log(z) if z > 1 else 1 / (1 + math.exp(-z))
    for _ in range(STEPS):
        step = w * (z - w - math.log(w)) / (1 + w)
        w += step
        if abs(step) <= 4e-16 * w:
            break
    return w
