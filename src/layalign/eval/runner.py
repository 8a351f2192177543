"""Run a system over examples and score what it writes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from layalign import processes
from layalign.data import Example
from layalign.errors import DataError
from layalign.eval.metrics import Metric, Score, check_metric, reference, score
from layalign.eval.results import Answer, EvaluationResult, Prediction, collect
from layalign.eval.translation import check_sacrebleu

if TYPE_CHECKING:
    from layalign.eval.journal import Journal
    from layalign.eval.systems import System


class Progress(Protocol):
    """Told how far an evaluation is, once before it begins and after every batch."""

    def __call__(self, done: int, total: int, label: str = "") -> None:
        """Take note.

        Args:
            done: Items answered.
            total: Items to answer.
            label: What is being worked on, where that is one of several evaluations.
        """


def evaluate(
    system: System,
    examples: Sequence[Example],
    *,
    metric: Metric = "number",
    batch_size: int = 32,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Let a system answer examples, those of all languages together, and score the answers.

    Args:
        system: What to evaluate.
        examples: With gold answers; any order of languages.
        metric: ``"number"``, ``"choice"``, ``"exact"`` or ``"translation"``.
        batch_size: Examples answered at a time.
        journal: Written to as answers are found; examples that are in it are not asked again.
        progress: Told after every batch.

    Raises:
        DataError: No examples, an id twice in a language, or a gold answer that does not fit.
        ConfigError: Unknown metric, or a batch size below 1.
    """
    check(examples, metric)
    predictions = predict(
        system, examples, metric, batch_size=batch_size, journal=journal, progress=progress
    )
    return collect(metric, predictions)


def predict(
    system: System,
    examples: Sequence[Example],
    metric: Metric | None = None,
    *,
    batch_size: int = 32,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Let a system answer examples; arguments and errors are those of :func:`evaluate`.

    Args:
        system: What answers.
        examples: Any, also without gold answers if there is no metric.
        metric: By which every answer is scored; None for no scores.
        batch_size: See there.
        journal: See there.
        progress: See there.

    Returns:
        One prediction an example, in the order given.
    """
    work = _Work(examples, metric, journal, progress)
    waiting = [examples[i] for i in work.waiting]
    system.answer(waiting, batch_size=batch_size, on_batch=work.take)
    for found in processes.gather(work.own):
        work.done |= found
    return [work.done[i] for i in range(len(examples))]


class _Work:
    """Predictions so far, and what has to happen when some are made."""

    def __init__(
        self,
        examples: Sequence[Example],
        metric: Metric | None,
        journal: Journal | None,
        progress: Progress | None,
    ) -> None:
        self.examples, self.metric = examples, metric
        self.journal, self.progress = journal, progress
        known = {} if journal is None else journal.done
        # Those of data that has been edited since are made anew.
        self.done = {i: found for i, found in known.items() if _is_of(found, examples[i])}
        self.waiting = [i for i in range(len(examples)) if i not in self.done]
        self.own: dict[int, Prediction] = {}
        self.lap = time.perf_counter()
        self._report()

    def take(self, answers: Mapping[int, Answer]) -> None:
        """Score and keep the answers of a batch, by their place among those that were waiting."""
        start, self.lap = self.lap, time.perf_counter()
        seconds = (self.lap - start) / len(answers)
        for place, answer in answers.items():
            i = self.waiting[place]
            self.own[i] = _predict(self.examples[i], answer, self.metric, seconds)
            if self.journal is not None:
                self.journal.add(i, self.own[i])
        self._report()

    def _report(self) -> None:
        if self.progress is not None:
            total = len(self.examples)
            # Other processes are about as far as this one.
            done = total - len(self.waiting) + len(self.own) * processes.count()
            self.progress(min(done, total), total)


def check(examples: Sequence[Example], metric: Metric) -> None:
    """Find what would spoil the scores before anything is generated."""
    check_metric(metric)
    if metric == "translation":
        check_sacrebleu()
    if not examples:
        raise DataError("there are no examples to evaluate; check the data and its filters")
    counts = Counter((e.language, e.id) for e in examples if e.id is not None)
    (tag, id_), most = max(counts.items(), key=lambda item: item[1], default=(("", ""), 0))
    if most > 1:
        raise DataError(f"id {id_!r} occurs {most} times in language {tag!r}; ids must be unique")
    for example in examples:
        score("", example, metric)


def _is_of(prediction: Prediction, example: Example) -> bool:
    names = ("id", "language", "text", "answer")
    return all(getattr(prediction, name) == getattr(example, name) for name in names)


def _predict(example: Example, answer: Answer, metric: Metric | None, seconds: float) -> Prediction:
    scored = (
        Score(parsed=None, correct=None) if metric is None else score(answer.text, example, metric)
    )
    return Prediction(
        id=example.id,
        language=example.language,
        text=example.text,
        answer=example.answer,
        output=answer.text,
        parsed=scored.parsed,
        correct=scored.correct,
        reference=reference(example, metric) if metric == "translation" else None,
        seconds=seconds,
        new_tokens=answer.new_tokens,
    )
