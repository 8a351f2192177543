"""Checkpoint folders of a running stage: complete or not there at all, and checked before use."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from layalign.durable import UNFINISHED, damage, rename_when_complete
from layalign.errors import CheckpointError, TrainingError, reason
from layalign.train.record import Record

_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoint_path(folder: Path, update: int) -> Path:
    """Where the checkpoint after that many updates is."""
    return folder / f"checkpoint-{update}"


def write_checkpoint(folder: Path, update: int, write: Callable[[Path], None]) -> Path:
    """Write ``checkpoint-<update>``: under another name first, on the disk, then renamed.

    A process that is killed at any moment leaves either no such folder or a whole one.

    Args:
        folder: Where the checkpoints are.
        update: Number of optimizer updates done.
        write: Writes all files into the folder it is given.

    Returns:
        The checkpoint's folder, read back and found whole.

    Raises:
        TrainingError: It cannot be written, as on a full disk; earlier checkpoints are as before.
    """
    final = checkpoint_path(folder, update)
    try:
        with rename_when_complete(final) as temporary:
            write(temporary)
    except (OSError, RuntimeError, SafetensorError) as error:  # of Python, torch and safetensors
        raise TrainingError(
            f"cannot write {final} ({_reason(error)}); earlier checkpoints are intact: make room, "
            "then resume"
        ) from error
    wrong = damage(final)
    if wrong is not None:
        raise TrainingError(
            f"{final} is not what was written ({wrong}); earlier checkpoints are intact: check the "
            "disk, then resume"
        )
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.is_dir() and (match := _NAME.fullmatch(path.name))
    }
    return [found[update] for update in sorted(found)]


def newest_whole(folder: Path, *, keep_best: bool) -> Path | None:
    """The newest checkpoint that a stage can go on from.

    Newer ones that are damaged are renamed, so that they neither count nor come back.

    Args:
        folder: Where the checkpoints are.
        keep_best: Whether the best one so far has to be whole too.

    Returns:
        None if there is no checkpoint at all.

    Raises:
        CheckpointError: There are some, but none is whole.
    """
    wrong: dict[Path, str] = {}
    for path in reversed(checkpoints(folder)):
        found = damage(path) or (_damage_of_best(path) if keep_best else None)
        if found is None:
            for damaged, what in wrong.items():
                _set_aside(damaged, what)
            return path
        wrong[path] = found
    if wrong:
        which = "; ".join(f"{path.name}: {what}" for path, what in wrong.items())
        raise CheckpointError(
            f"no checkpoint in {folder} is whole ({which}); put a copy of one back, or delete "
            f"{folder} to train this stage again"
        )
    return None


def prune(folder: Path, *, keep: int, best: int | None) -> None:
    """Delete old checkpoints and what killed processes have left.

    Args:
        folder: Where the checkpoints are.
        keep: How many of the last ones stay.
        best: The update whose checkpoint stays too.
    """
    for path in checkpoints(folder)[:-keep]:
        if best is None or path != checkpoint_path(folder, best):
            shutil.rmtree(path)
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _damage_of_best(path: Path) -> str | None:
    best = Record.load(path).best
    if best is None:
        return None
    kept = checkpoint_path(path.parent, best.update)
    wrong = damage(kept)
    return None if wrong is None else f"its best, {kept.name}, is damaged: {wrong}"


def _set_aside(path: Path, what: str) -> None:
    aside = path.with_name(f"damaged-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    logging.getLogger(__name__).warning(
        "%s is damaged (%s); it is now called %s, and an earlier one is used",
        *(path, what, aside.name),
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or reason(error)
