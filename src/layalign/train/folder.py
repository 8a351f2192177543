"""A run's folder: whose it is, and what its disk says."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from layalign import processes
from layalign.durable import lock, rename_when_complete
from layalign.errors import ConfigError, LayAlignError, TrainingError
from layalign.eval.run_folder import RECIPE_NAME
from layalign.train.recipe import Recipe, differing_keys, load_recipe, save_recipe
from layalign.train.stages import HARMLESS

_OF_THE_DISK = {
    getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EIO")
}


def check_folder(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    """See that a folder is this run's.

    Args:
        folder: May not be there yet.
        recipe: As it was given, without what its method changes.
        resume: Whether the run may have begun.

    Raises:
        TrainingError: Another run's results are there.
        ConfigError: The recipe has changed.
    """
    recorded = folder / RECIPE_NAME
    if recorded.exists() and not resume:
        raise TrainingError(
            f"{folder} already holds a run; resume it, or choose another output_dir"
        )
    if recorded.exists():
        differing = differing_keys(recipe, load_recipe(recorded))
        changed = [key for key in differing if key.rpartition(".")[2] not in HARMLESS]
        if changed:
            raise ConfigError(
                f"the recipe differs from the one that {folder} was begun with, in "
                f"{', '.join(changed)}; set it back, or choose another output_dir"
            )


def claim_folder(folder: Path, recipe: Recipe) -> None:
    """Leave the recipe in a folder, unless it is there.

    Raises:
        TrainingError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RECIPE_NAME).exists():
            save_recipe(folder / RECIPE_NAME, recipe)
    except OSError as error:
        raise TrainingError(
            f"cannot write to {folder} ({error.strerror}); choose another output_dir"
        ) from error


@contextmanager
def sole_process(folder: Path) -> Iterator[None]:
    """Keep other runs from working on the same folder meanwhile.

    Raises:
        TrainingError: Another one does.
    """
    if os.name != "posix":  # folders cannot be locked there
        yield
        return
    descriptor = processes.by_main(partial(_locked, folder))
    try:
        yield
    finally:
        if processes.is_main():
            os.close(descriptor)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder, os.O_RDONLY)
    if not lock(descriptor):
        os.close(descriptor)
        raise TrainingError(
            f"another process is at work in {folder}; wait for it, or choose another output_dir"
        )
    return descriptor


@contextmanager
def completed_by_main(final: Path) -> Iterator[Path]:
    """:func:`rename_when_complete` where the main process alone writes, and all wait for it.

    Raises:
        OSError: It cannot be written.
    """
    if processes.is_main():
        with rename_when_complete(final) as temporary:
            yield temporary
    else:
        yield final
    processes.gather(None)


@contextmanager
def explained_disk(folder: Path) -> Iterator[None]:
    """Turn what the system says of a disk into an error of ours.

    Raises:
        TrainingError: The disk is full or cannot be written.
    """
    try:
        yield
    except LayAlignError:
        raise
    except Exception as error:
        number = _number(error)
        if number not in _OF_THE_DISK:
            raise
        place = getattr(error, "filename", None) or folder
        raise TrainingError(
            f"cannot write {place} ({os.strerror(number)}); what was complete before is kept: make "
            "room or give access, then resume"
        ) from error


def _number(error: Exception) -> int:
    """The system's number of an error; libraries written in Rust have it in their text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else -1
