"""Train and evaluate methods with the same data, budget and seeds, and put them in one table."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from layalign.comparison.cells import Grid
from layalign.comparison.export import to_csv, to_markdown
from layalign.comparison.scheduler import CellRunner, GridProgress
from layalign.comparison.table import make_table
from layalign.errors import ConfigError, LayAlignError
from layalign.eval.report import write_json, write_text

DEFAULT_OUTPUT = "runs/comparison"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out of one recipe."""

    folder: Path
    """With ``comparison.json``, ``comparison.csv``, ``comparison.md`` and the runs."""

    table: dict[str, Any] | None
    """What stands in ``comparison.json``; None if no run was finished."""

    failures: dict[str, str]
    """Why runs failed, by their names."""


def compare_methods(
    recipes: Sequence[str | PathLike[str]],
    *,
    methods: Sequence[str],
    seeds: Sequence[int] = (1, 2, 3),
    overrides: Sequence[str] = (),
    output: str | PathLike[str] | None = None,
    jobs: int = 1,
    progress: GridProgress | None = None,
) -> list[Comparison]:
    """Run every method with every seed on every recipe.

    Each run is ``layalign train`` in a process of its own. What an earlier call has finished is
    taken as it is, and what it has begun goes on.

    Args:
        recipes: YAML files that describe LayAlign; see :data:`layalign.train.methods.METHODS` for
            what each method makes of them.
        methods: Names; the reference has to be among them.
        seeds: Of the runs.
        overrides: As for :func:`layalign.train.load_recipe`, such as ``comparison.budget=800``.
        output: Folder of the comparison, of several recipes one subfolder each; by default
            ``runs/comparison``, with a subfolder even for one recipe.
        jobs: Runs at a time.
        progress: Told how far it is.

    Raises:
        ConfigError: A recipe or method cannot be used, or ``output`` was begun with other settings.
    """
    check_scipy()
    folders = _folders(recipes, output)
    grids = [
        Grid(path, methods, seeds, overrides, folder)
        for path, folder in zip(recipes, folders, strict=True)
    ]
    for grid in grids:
        for cell in grid.cells:
            cell.claim()
    runner = CellRunner(jobs, progress)
    runner.run([cell for grid in grids for cell in grid.cells])
    return [_finish(grid, runner, overrides) for grid in grids]


def check_scipy() -> None:
    """See that the tests can be computed, before hours of training.

    Raises:
        LayAlignError: Names the extra to install.
    """
    try:
        import scipy.stats  # noqa: F401
    except ImportError as error:
        raise LayAlignError(
            "comparing methods needs scipy, which is not installed; install layalign[analysis]"
        ) from error


def _folders(
    recipes: Sequence[str | PathLike[str]], output: str | PathLike[str] | None
) -> list[Path]:
    names = [Path(path).stem for path in recipes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two recipes are named {twice!r}; rename one, to tell them apart")
    if output is not None and len(names) == 1:
        return [Path(output)]
    return [Path(output or DEFAULT_OUTPUT) / name for name in names]


def _finish(grid: Grid, runner: CellRunner, overrides: Sequence[str]) -> Comparison:
    """Write the table of what is finished."""
    names = {cell.name for cell in grid.cells}
    failures = {name: why for name, why in runner.failures.items() if name in names}
    table = None
    if any(cell.is_finished and cell.shown for cell in grid.cells):
        table = make_table(grid, _commands(grid, overrides))
        write_json(grid.output / "comparison.json", table)
        write_text(grid.output / "comparison.csv", to_csv(table))
        write_text(grid.output / "comparison.md", to_markdown(table))
    return Comparison(folder=grid.output, table=table, failures=failures)


def _commands(grid: Grid, overrides: Sequence[str]) -> list[str]:
    """What makes the table, and what each run is by itself."""
    parts = ["layalign", "compare", os.fspath(grid.path), "--methods", ",".join(grid.methods)]
    parts += ["--seeds", ",".join(map(str, grid.seeds)), "--output", os.fspath(grid.output)]
    for override in overrides:
        parts += ["--set", override]
    runs = [["layalign", "train", os.fspath(cell.file)] for cell in grid.cells]
    return [shlex.join(command) for command in (parts, *runs)]
