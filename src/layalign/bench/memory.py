"""Memory: what a function takes in a process of its own, and what to say if there is too little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from layalign.errors import EvaluationError
from layalign.eval.batching import is_out_of_memory
from layalign.memory import memory_gib, peak_memory_gib


@contextmanager
def enough_memory() -> Iterator[None]:
    """Say so, inside, when memory does not suffice.

    Raises:
        EvaluationError: It does not.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (is_out_of_memory(error) or isinstance(error, BrokenProcessPool)):
            raise
        raise EvaluationError(
            "memory does not suffice for what is to be measured; take smaller batches, fewer "
            "tokens, smaller models or --dtype bfloat16"
        ) from error


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
