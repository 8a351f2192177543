"""What memory the process takes, and memory that is free but still counted against it."""

from __future__ import annotations

import ctypes
import gc
import sys


def return_freed_memory() -> None:
    """Give what is no longer used back to the system.

    The C library of Linux keeps freed memory for later. After a stage that is gigabytes, of which
    the next one can use only the parts that happen to fit. On other systems only Python's own
    garbage is collected.
    """
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc; TypeError on Windows
        return
    trim(0)


def peak_memory_gib() -> float | None:
    """Most memory so far, GiB: of the GPU once one is used, else of this process.

    Returns:
        None where it cannot be told.
    """
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
