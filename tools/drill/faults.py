"""What can happen to a run: inside its process, and to its files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from ground import at_every_place

# In the process ----------------------------------------------------------------------------------


def die_at(place: int) -> None:
    """Kill the process just before it flushes or renames something for the n-th time."""

    def act(number: int) -> None:
        if number == place:
            os.kill(os.getpid(), signal.SIGKILL)

    at_every_place(act)


def die_after(path: Path) -> None:
    """Kill the process as soon as a file or folder is there."""

    def act(number: int) -> None:
        if path.exists():
            os.kill(os.getpid(), signal.SIGKILL)

    at_every_place(act)


def small_files(size: int) -> None:
    """Let no file become larger than that, bytes: writing more fails, as with a quota."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def examples_on_disk() -> None:
    """Have examples and their token ids in files, as if there were millions."""
    import layalign.data.tables

    layalign.data.tables.MEMORY = 0


def jumping_clock() -> None:
    """Let the wall clock jump by a day, forth and back, at every look."""
    look, days = time.time, [86400.0, -86400.0]

    def jumped() -> float:
        days.reverse()
        return look() + days[0]

    time.time = jumped


def bad_losses(spoil: Callable[[Any], Any], updates: range) -> None:
    """Spoil the losses of some updates, counted from 1 over both stages of LayAlign."""
    import layalign.train.trainer as trainer

    loss, done = trainer.composite_loss, 0

    def spoilt(model: Any, batch: Any, num_items: Any) -> Any:
        nonlocal done
        found = loss(model, batch, num_items)
        if not torch.is_grad_enabled():
            return found  # of the development set
        done += 1
        return spoil(found) if done in updates else found

    trainer.composite_loss = spoilt


def times(factor: float) -> Callable[[Any], Any]:
    """Spoil a loss, and with it all gradients."""
    return lambda loss: loss * factor


def only_gradients(loss: Any) -> Any:
    """Spoil the gradients of a loss that is a number."""
    loss.register_hook(lambda gradient: gradient * float("nan"))
    return loss


# To files ----------------------------------------------------------------------------------------


def cut_off(file: Path) -> None:
    """Lose the second half of a file."""
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    """Lose all of it."""
    os.truncate(file, 0)


def lengthen(file: Path) -> None:
    """Have some bytes after its end."""
    with file.open("ab") as end:
        end.write(b"more")


def flip_bit(file: Path) -> None:
    """Change one bit in its middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def delete(file: Path) -> None:
    """Lose the file."""
    file.unlink()


HARMS = (flip_bit, cut_off, empty, lengthen, delete)


def harm(file: Path, way: Callable[[Path], None]) -> None:
    """Do it to a copy that takes the file's place, for others may be links to the same file."""
    copy = file.with_name(f"{file.name}.harmed")
    shutil.copy(file, copy)
    os.replace(copy, file)
    way(file)


# To the disk -------------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path, kib: int) -> Iterator[Callable[[str], None]]:
    """Have a disk of that size, KiB, at a place; gives what mounts it again with other options.

    Raises:
        PermissionError: Only root may do that, and not everywhere.
    """
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place))
    try:
        yield lambda options: _mount("-o", f"remount,{options}", str(place))
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


def can_mount(place: Path) -> bool:
    """Whether there can be such a disk."""
    with suppress(PermissionError, FileNotFoundError), small_disk(place, 64):
        return True
    return False


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
