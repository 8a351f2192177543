"""A run's folder: whose it is."""

from __future__ import annotations

from pathlib import Path

from layalign.errors import ConfigError, TrainingError
from layalign.eval.run_folder import RECIPE_NAME
from layalign.train.recipe import Recipe, differing_keys, load_recipe, save_recipe


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
        changed = differing_keys(recipe, load_recipe(recorded))
        if changed:
            raise ConfigError(
                f"the recipe differs from the one that {folder} was begun with, in "
                f"{', '.join(changed)}; set it back, or choose another output_dir"
            )


def claim_folder(folder: Path, recipe: Recipe) -> None:
    """Leave the recipe in a folder.

    Raises:
        TrainingError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_recipe(folder / RECIPE_NAME, recipe)
    except OSError as error:
        raise TrainingError(
            f"cannot write to {folder} ({error.strerror}); choose another output_dir"
        ) from error
