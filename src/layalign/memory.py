"""Memory that is free but still counted against the process."""

from __future__ import annotations

import ctypes
import gc


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
