"""What the runs of a comparison have answered, as arrays on the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from layalign.comparison.cells import Cell
from layalign.comparison.statistics import Floats
from layalign.errors import DataError
from layalign.eval.journal import read_predictions, slug
from layalign.eval.results import collect
from layalign.eval.run_folder import PREDICTIONS_FOLDER, SUMMARY_NAME
from layalign.eval.systems import BARE
from layalign.train.summary import RunSummary

Answers = Mapping[str, Mapping[str, float]]
"""For each language, 1 or 0 for each id."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished cell."""

    cell: Cell
    summary: RunSummary
    answers: Answers

    @classmethod
    def load(cls, cell: Cell) -> Run:
        """Read what it has left.

        Raises:
            TrainingError: Its summary is damaged.
            DataError: Its predictions cannot be read.
        """
        summary = RunSummary.load(cell.folder / SUMMARY_NAME)
        if summary.system is None:
            raise DataError(f"{cell.folder} has evaluated nothing; give the recipe data.evaluation")
        answers = cell.folder / PREDICTIONS_FOLDER / f"{summary.system}.jsonl"
        return cls(cell=cell, summary=summary, answers=_answers(answers))

    def tokens_per_second(self, system: str | None = None) -> float | None:
        """How fast a system wrote, by default the run's own; None if it was not measured."""
        figures = (self.summary.evaluation or {})["systems"].get(system or self.summary.system)
        return None if figures is None else float(figures["tokens_per_second"])

    @property
    def bare_tokens_per_second(self) -> float | None:
        """How fast the bare language model wrote."""
        return self.tokens_per_second(slug(BARE))


def _answers(path: Path) -> Answers:
    result = collect("exact", read_predictions(path))
    return {tag: result.scores(tag) for tag in result.languages}


@dataclass(frozen=True)
class Questions:
    """The questions that all runs have answered."""

    ids: tuple[str, ...]
    languages: tuple[str, ...]
    present: NDArray[np.bool_]
    """Which ids there are in each language, ``(n_ids, n_languages)``."""

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Questions:
        """Find them.

        Raises:
            DataError: Two runs have answered different questions.
        """
        first = runs[0]
        asked = {tag: set(scores) for tag, scores in first.answers.items()}
        for run in runs[1:]:
            if {tag: set(scores) for tag, scores in run.answers.items()} != asked:
                raise DataError(
                    f"{run.cell.folder} has answered other questions than {first.cell.folder}; "
                    "the evaluation data has changed, so choose another output"
                )
        ids = tuple(dict.fromkeys(i for scores in first.answers.values() for i in scores))
        present = [[id_ in scores for scores in asked.values()] for id_ in ids]
        return cls(ids, tuple(asked), np.array(present))

    def correct(self, runs: Sequence[Run]) -> Floats:
        """1 where a run is right, 0 elsewhere, ``(n_runs, n_ids, n_languages)``."""
        table = [
            [[run.answers[tag].get(id_, 0.0) for tag in self.languages] for id_ in self.ids]
            for run in runs
        ]
        return np.array(table)
