"""Checkpoint folders of a running stage: complete or not there at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"checkpoint-(\d+)")
_UNFINISHED = ".unfinished-"


def write_checkpoint(folder: Path, update: int, write: Callable[[Path], None]) -> Path:
    """Write ``checkpoint-<update>``: under another name first, on the disk, then renamed.

    A process that is killed at any moment leaves either no such folder or a whole one.

    Args:
        folder: Where the checkpoints are.
        update: Number of optimizer updates done.
        write: Writes all files into the folder it is given.

    Returns:
        The checkpoint's folder.
    """
    final = folder / f"checkpoint-{update}"
    with rename_when_complete(final) as temporary:
        write(temporary)
    return final


@contextmanager
def rename_when_complete(final: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``final`` if nothing fails."""
    temporary = final.with_name(f"{_UNFINISHED}{final.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    for path in (*temporary.rglob("*"), temporary):
        _to_disk(path)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _to_disk(final.parent)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.is_dir() and (match := _NAME.fullmatch(path.name))
    }
    return [found[update] for update in sorted(found)]


def prune(folder: Path, *, keep: int, best: int | None) -> None:
    """Delete old checkpoints and what killed processes have left.

    Args:
        folder: Where the checkpoints are.
        keep: How many of the last ones stay.
        best: The update whose checkpoint stays too.
    """
    for path in checkpoints(folder)[:-keep]:
        if path.name != f"checkpoint-{best}":
            shutil.rmtree(path)
    for path in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _to_disk(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
