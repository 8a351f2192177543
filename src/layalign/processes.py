"""The processes of one run: which of them writes, and what all of them decide alike.

Several are started by ``torchrun``, ``accelerate launch`` or a cluster's own launcher, which say so
in the environment. With one process, which is the ordinary case, nothing here does anything.

All functions but :func:`count`, :func:`rank` and :func:`is_main` are collective: every process has
to call them, in the same order.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from layalign.errors import ConfigError, LayAlignError, reason

T = TypeVar("T")

DESERTED = (
    "another process has ended; what was saved is kept: go on with --resume when its own message, "
    "or the system's log, has said why"
)
_HOW = "Start several processes by torchrun or accelerate launch; for a single one unset RANK"

# One process may read millions of examples while the others wait. Those of a process that has
# died are ended by whoever started them.
_PATIENCE = timedelta(days=2)


def launched() -> int:
    """How many processes a launcher says that there are, joined or not.

    Raises:
        ConfigError: It says something else.
    """
    if not os.environ.get("RANK"):
        return 1
    text = os.environ.get("WORLD_SIZE") or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"WORLD_SIZE is {text!r}; expected how many processes there are. {_HOW}")
    return int(text)


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the launcher's processes inside, on a GPU of its own if there are any.

    Raises:
        ConfigError: The launcher's variables are wrong or missing.
        LayAlignError: The processes do not find each other.
    """
    if launched() == 1 or _is_joined():
        yield
        return
    _check_variables()
    import torch
    from accelerate import PartialState

    try:
        state = PartialState(cpu=not torch.cuda.is_available())
    except (RuntimeError, ValueError) as error:  # of torch and accelerate
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise LayAlignError(
            f"the {launched()} processes do not find each other at {where} ({reason(error)}); see "
            "that all have been started and that this address is the first one's"
        ) from error
    try:
        yield
    finally:
        _talk.cache_clear()
        state.destroy_process_group()


def _check_variables() -> None:
    size, rank = launched(), os.environ["RANK"]
    if not rank.isdecimal() or int(rank) >= size:
        raise ConfigError(f"RANK is {rank!r}; expected a number from 0 to {size - 1}. {_HOW}")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise ConfigError(f"RANK and WORLD_SIZE are set, but {name} is not. {_HOW}")


def count() -> int:
    """How many processes there are."""
    return _group().get_world_size() if _is_joined() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return _group().get_rank() if _is_joined() else 0


def is_main() -> bool:
    """Whether this is the one that writes and speaks."""
    return rank() == 0


def gather(value: T) -> list[T]:
    """What every process has, in their order.

    Args:
        value: Can be pickled; it does not leave the run.
    """
    if count() == 1:
        return [value]
    found: list[Any] = [None] * count()
    with _all_there():
        _group().all_gather_object(found, value, group=_talk())
    return found


def shares(n: int) -> range:
    """Which of ``n`` things this process takes.

    Every process takes equally many, so that some may be beyond ``n``.
    """
    return range(rank(), n + -n % count(), count())


def by_main(do: Callable[[], T]) -> T:
    """Let the main process do something; all return what it returns, or raise what it raises."""
    if count() == 1:
        return do()
    told: list[Any] = [None, None]
    caught: BaseException | None = None
    if is_main():
        try:
            told[0] = do()
        except Exception as error:
            caught, told[1] = error, _carried(error)
    with _all_there():
        _group().broadcast_object_list(told, src=0, group=_talk())
    if caught is not None:
        raise caught
    if told[1] is not None:
        raise told[1]
    result: T = told[0]
    return result


@contextmanager
def together() -> Iterator[None]:
    """Do one's share inside; go on when all have done theirs.

    If one fails, the others fail as soon as they are done rather than wait.

    Raises:
        LayAlignError: In those that have not failed themselves.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        failures = gather(failed)
    if any(failures):
        raise LayAlignError("another process has failed; its message says why")


def is_desertion(error: BaseException) -> bool:
    """Whether an error of torch means that another process has ended amid a common task."""
    from torch.distributed import DistError

    # For gloo torch has no class: its errors are known by the file that they name.
    return isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )


@contextmanager
def _all_there() -> Iterator[None]:
    """Say in words that another process has ended, be it killed by the system."""
    try:
        yield
    except RuntimeError as error:
        if not is_desertion(error):
            raise
        raise LayAlignError(DESERTED) from error


def _carried(error: Exception) -> Exception:
    """An error that can be sent: itself, or one of the same words."""
    try:
        found: Exception = copy.copy(error)  # which makes it anew, as the other side does
    except Exception:
        return LayAlignError(str(error))
    return found


def _group() -> Any:
    from torch import distributed  # here, so that commands without it start at once

    return distributed


def _is_joined() -> bool:
    return bool(_group().is_available() and _group().is_initialized())


@cache
def _talk() -> Any:
    """Messages between the processes: on CPUs, so that no GPU has to wait for them."""
    return _group().new_group(backend="gloo", timeout=_PATIENCE)
