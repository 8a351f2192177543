"""Run functions in processes of their own, whose memory nothing else has touched."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from layalign.memory import memory_gib, peak_memory_gib


def memory_figures(
    own: Callable[..., object], alone: Callable[..., object], *args: Any
) -> dict[str, float | None]:
    """Memory that something of ours takes, and the same with the language model alone.

    Args:
        own: A function of a module, so that a new process can find it.
        alone: Its counterpart.
        *args: Plain values for both.

    Returns:
        ``memory_gib``, ``bare_memory_gib`` and ``memory_ratio``; None where it cannot be told.
    """
    taken, least = fresh_peak_gib(own, *args), fresh_peak_gib(alone, *args)
    ratio = None if taken is None or not least else taken / least
    return {"memory_gib": taken, "bare_memory_gib": least, "memory_ratio": ratio}


def fresh_peak_gib(function: Callable[..., object], *args: Any) -> float | None:
    """Most memory that a function takes in a new process, above what there was before, GiB.

    Returns:
        None where memory cannot be told.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, function, *args).result()


def _peak(function: Callable[..., object], *args: Any) -> float | None:
    before = memory_gib()
    function(*args)
    peak = peak_memory_gib()
    return None if before is None or peak is None else peak - before
