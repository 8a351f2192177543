"""Run over examples in batches that shrink when memory does not suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from layalign import processes
from layalign.errors import ConfigError, EvaluationError
from layalign.memory import return_freed_memory

T = TypeVar("T")

_SIGNS = ("out of memory", "not enough memory")


def in_batches(
    order: Sequence[int],
    size: int,
    run: Callable[[list[int]], Sequence[T]],
    on_batch: Callable[[Mapping[int, T]], None] | None = None,
) -> list[T]:
    """Call a function with one batch after the other.

    Out of memory, the batch is halved, and so are those that follow. Several processes share the
    batches, which are those of one process, and in the end all have all results.

    Args:
        order: The rows 0, 1, 2 … in the order to take them; the largest should come first.
        size: Rows in a batch, at least 1.
        run: Gives a result for each row of a batch. May be told some rows again after it ran out
            of memory.
        on_batch: Told the results of every batch that this process runs, by row.

    Returns:
        The results of rows 0, 1, 2 …

    Raises:
        ConfigError: ``size`` is less than 1.
        EvaluationError: Memory does not suffice for a single row.
    """
    if size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {size}")
    own = order
    if processes.count() > 1:
        starts = range(0, len(order), size)[processes.rank() :: processes.count()]
        own = [row for start in starts for row in order[start : start + size]]
    results: dict[int, T] = {}
    while len(results) < len(own):
        batch = list(own[len(results) : len(results) + size])
        found = _attempt(batch, run)
        if found is None:
            size = len(batch) // 2
            logging.getLogger(__name__).warning("out of memory; going on with batches of %d", size)
        else:
            done = dict(zip(batch, found, strict=True))
            results |= done
            if on_batch is not None:
                on_batch(done)
        return_freed_memory()  # a cache that grows by a token leaves holes of every size
    everyone = dict(chain.from_iterable(part.items() for part in processes.gather(results)))
    return [everyone[row] for row in range(len(order))]


def longest_first(features: Sequence[Mapping[str, list[int]]]) -> list[int]:
    """Order tokenised examples so that those of similar length go together.

    The longest come first: if memory does not suffice, that shows at once.
    """
    return sorted(range(len(features)), key=lambda i: -sum(map(len, features[i].values())))


def _attempt(batch: list[int], run: Callable[[list[int]], Sequence[T]]) -> Sequence[T] | None:
    """Run a batch; None if memory did not suffice.

    The error, and with it all tensors that its frames hold, is gone when this returns.
    """
    try:
        return run(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            what = str(error).partition("\n")[0] or type(error).__name__
            raise EvaluationError(
                f"memory does not suffice for a single example ({what}); "
                "use a smaller model or type, or shorter answers"
            ) from error
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of torch or Python says that memory does not suffice."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SIGNS)
