"""How many threads the products of NumPy may use."""

from threadpoolctl import threadpool_limits

# Rows below which a product of a few thousand columns is over before a second thread has begun: waiting for one
# another, the threads took several times the processor time of one, and on a busy machine more of the clock too.
ROWS = 512


def blas(rows: int) -> threadpool_limits:
    """Context in which products of so many rows run on one thread if they are small."""
    return threadpool_limits(limits=1 if rows < ROWS else None, user_api="blas")
