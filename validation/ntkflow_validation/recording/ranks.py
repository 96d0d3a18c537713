"""Which process of a data-parallel training this is."""

import os
import sys


def rank() -> int:
    """The rank of torch.distributed where that runs, that of jax.distributed, the variable RANK, otherwise 0.

    Lightning starts its processes with LOCAL_RANK and NODE_RANK before torch.distributed runs: not 0 where either is not.
    Nothing is imported and no device is touched for it.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    jax = sys.modules.get("jax")
    if jax is not None and jax.distributed.is_initialized():
        return int(jax.process_index())
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK")
    texts = (os.environ.get(name, "0") for name in names)
    return max(int(text) if text.isdecimal() else 0 for text in texts)
