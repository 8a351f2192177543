"""The table of a comparison: accuracies, tests and costs as plain values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from layalign.comparison.cells import BASE, Grid
from layalign.comparison.scores import Questions, Run
from layalign.comparison.statistics import (
    Draws,
    Floats,
    bootstrap_p,
    estimate,
    holm,
    mcnemar_p,
    point,
    verdict,
)
from layalign.data import language_name
from layalign.eval.comparison import language_groups
from layalign.eval.provenance import versions
from layalign.eval.tasks import load_task, shipped_tasks
from layalign.train.methods import METHODS

SCHEMA = 1

Values = dict[str, Any]


def make_table(grid: Grid, commands: Sequence[str]) -> Values:
    """Put the finished cells of a comparison together.

    Args:
        grid: Its cells; those that are not finished are left out; one has to be.
        commands: That made it.

    Returns:
        What stands in ``comparison.json``; ``docs/comparing.md`` describes it.

    Raises:
        DataError: What a run has left cannot be read, or runs do not fit each other.
    """
    runs = [Run.load(cell) for cell in grid.cells if cell.is_finished]
    shown = [run for run in runs if run.cell.shown]
    return _Table(grid, runs, shown).values(commands)


class _Table:
    """One table in the making."""

    def __init__(self, grid: Grid, runs: Sequence[Run], shown: Sequence[Run]) -> None:
        self.grid = grid
        self.runs = {
            name: {run.cell.seed: run for run in shown if run.cell.method == name}
            for name in grid.methods
        }
        self.runs = {name: found for name, found in self.runs.items() if found}
        self.bare = {
            run.cell.seed: speed
            for run in runs
            if run.cell.method == BASE and (speed := run.bare_tokens_per_second)
        }
        self.questions = Questions.of(shown)
        self.draws = Draws(self.questions.present)
        self.trained = _trained(shown)
        tags = self.questions.languages
        self.groups = language_groups(tags, self.trained, _named_groups(grid, shown[0]))
        self.columns = {
            group: [tags.index(tag) for tag in members] for group, members in self.groups.items()
        }

    def values(self, commands: Sequence[str]) -> Values:
        grid, settings, present = self.grid, self.grid.settings, self.questions.present
        methods = {name: self._method(name) for name in self.runs}
        for name, tests in self._tests().items():
            methods[name]["versus"] = {"reference": settings.reference, "averages": tests}
        return {
            "schema": SCHEMA,
            "recipe": grid.name,
            "equal": {"kind": settings.equal, "budget": grid.budget},
            "commands": list(commands),
            "versions": versions(),
            "metric": grid.cells[0].recipe.evaluation.metric,
            "reference": settings.reference,
            "seeds": list(grid.seeds),
            "missing": self._missing(),
            "languages": {
                tag: {
                    "name": language_name(tag),
                    "trained": tag in self.trained,
                    "items": int(present[:, column].sum()),
                }
                for column, tag in enumerate(self.questions.languages)
            },
            "groups": self.groups,
            "methods": methods,
        }

    def _missing(self) -> dict[str, list[int]]:
        """Seeds of each method whose run is not finished."""
        missing = {
            name: [seed for seed in self.grid.seeds if seed not in self.runs.get(name, {})]
            for name in self.grid.methods
        }
        return {name: seeds for name, seeds in missing.items() if seeds}

    def _method(self, name: str) -> Values:
        runs = self.runs[name]
        correct = self.questions.correct(list(runs.values()))
        value, drawn = point(correct, self.questions.present), self.draws.accuracies(correct)
        return {
            "label": METHODS[name].label,
            "seeds": list(runs),
            "runs": {
                str(seed): os.path.relpath(run.cell.folder, self.grid.output)
                for seed, run in runs.items()
            },
            "languages": {
                tag: asdict(estimate(value, drawn, [column]))
                for column, tag in enumerate(self.questions.languages)
            },
            "averages": {
                group: asdict(estimate(value, drawn, columns))
                for group, columns in self.columns.items()
            },
            "versus": None,
            "cost": self._cost(runs),
        }

    def _cost(self, runs: Mapping[int, Run]) -> Values:
        """What the runs took: the mean over seeds, of memory the most."""
        speeds = {seed: speed for seed, run in runs.items() if (speed := run.tokens_per_second())}
        ratios = [speed / self.bare[seed] for seed, speed in speeds.items() if seed in self.bare]
        summaries = [run.summary for run in runs.values()]
        memory = [s.peak_memory_gib for s in summaries if s.peak_memory_gib is not None]
        return {
            "trained_parameters": summaries[0].trained_parameters,
            "training_seconds": fmean(summary.training_seconds for summary in summaries),
            "translation_seconds": fmean(s.translation_seconds for s in summaries) or None,
            "tokens_per_second": _mean(speeds.values()),
            "relative_speed": _mean(ratios),
            "peak_memory_gib": max(memory, default=None),
        }

    def _tests(self) -> dict[str, dict[str, Values]]:
        """Test every method against the reference in every group, on the seeds that both have."""
        reference = self.runs.get(self.grid.settings.reference, {})
        tests: dict[str, dict[str, Values]] = {}
        for name, runs in self.runs.items():
            seeds = [seed for seed in runs if seed in reference]
            if name != self.grid.settings.reference and seeds:
                own, theirs = (
                    self.questions.correct([some[seed] for seed in seeds])
                    for some in (runs, reference)
                )
                tests[name] = self._differences(own - theirs)
        every = [test for of_method in tests.values() for test in of_method.values()]
        for test, corrected in zip(every, holm([test["p"] for test in every]), strict=True):
            test["p_corrected"] = corrected
            test["verdict"] = verdict(test["value"], corrected)
        return tests

    def _differences(self, difference: Floats) -> dict[str, Values]:
        value = point(difference, self.questions.present)
        drawn = self.draws.accuracies(difference)
        tests = {}
        for group, columns in self.columns.items():
            both = {
                "p_bootstrap": bootstrap_p(drawn, columns),
                "p_mcnemar": mcnemar_p(difference, columns, self.questions.present),
            }
            # A difference counts if both tests see it; the larger p-value says so.
            tests[group] = {
                **asdict(estimate(value, drawn, columns)),
                **both,
                "p": max(both.values()),
            }
        return tests


def _trained(runs: Sequence[Run]) -> set[str]:
    """Languages that any of the methods was trained on."""
    return {
        tag
        for run in runs
        for tag, row in (run.summary.evaluation or {})["languages"].items()
        if row["trained"]
    }


def _named_groups(grid: Grid, run: Run) -> dict[str, Sequence[str]]:
    """Groups of the recipe, and those of the benchmarks that are asked."""
    formats = [source.format for source in run.cell.recipe.data.evaluation]
    groups: dict[str, Sequence[str]] = {}
    for name in shipped_tasks():
        if name in formats:
            groups |= load_task(name).groups
    return {**groups, **grid.settings.groups}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None
