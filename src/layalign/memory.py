"""What memory the process takes, and memory that is free but still counted against it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the C library of Linux keep large blocks that are freed, for a process of our own.

    By default each comes from the system and goes back to it, which clears every page once more.
    Where a tensor is made anew at every step, as the cache of a long generation is, that takes
    longer than the work itself. :func:`return_freed_memory` still gives everything back. What the
    environment says about ``malloc`` is left alone.
    """
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError, TypeError):  # as below
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


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
    # First, because the other one counts what the parent process had when it started this one.
    if (own := _status_gib("VmHWM")) is not None:
        return own
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def memory_gib() -> float | None:
    """Memory in use now, GiB, of what :func:`peak_memory_gib` tells the most of.

    Returns:
        None where it cannot be told: without a GPU that is everywhere but on Linux.
    """
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.memory_allocated() / 2**30
    return _status_gib("VmRSS")


def reset_peak_memory() -> None:
    """Let :func:`peak_memory_gib` count from here on: on a GPU, and on Linux where it may be."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status_gib(name: str) -> float | None:
    """An entry of what Linux says of this process, GiB."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) / 2**20 if found else None
