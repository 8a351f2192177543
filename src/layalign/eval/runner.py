"""Run a system over examples and score what it writes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from layalign.data import Example, language_name
from layalign.errors import DataError
from layalign.eval.metrics import Metric, check_metric, reference, score
from layalign.eval.results import EvaluationResult, Prediction, collect
from layalign.eval.translation import check_sacrebleu

if TYPE_CHECKING:
    from layalign.eval.journal import Journal
    from layalign.eval.systems import System


class Progress(Protocol):
    """Told how far an evaluation is, once before each language and after every batch."""

    def __call__(self, done: int, total: int, label: str) -> None:
        """Take note.

        Args:
            done: Items answered.
            total: Items to answer.
            label: What is being worked on, such as the language.
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
    """Let a system answer examples and score the answers, one language after the other.

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
    work = _Work(system, examples, metric, journal, progress)
    rows_of: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        rows_of.setdefault(example.language, []).append(i)
    for tag, rows in rows_of.items():
        work.answer(language_name(tag), rows, batch_size)
    return collect(metric, [work.done[i] for i in range(len(examples))])


class _Work:
    """Predictions so far, and what has to happen when one is made."""

    def __init__(
        self,
        system: System,
        examples: Sequence[Example],
        metric: Metric,
        journal: Journal | None,
        progress: Progress | None,
    ) -> None:
        self.system, self.examples, self.metric = system, examples, metric
        self.journal, self.progress = journal, progress
        self.done: dict[int, Prediction] = {} if journal is None else dict(journal.done)
        self.lap = time.perf_counter(), system.new_tokens

    def answer(self, label: str, rows: Sequence[int], batch_size: int) -> None:
        """Have the rows of one language answered, but for those that are."""
        waiting = [i for i in rows if i not in self.done]
        take = partial(self._take, label, waiting)
        take({})
        chosen = [self.examples[i] for i in waiting]
        outputs = self.system.answer(chosen, batch_size=batch_size, on_batch=take)
        # A system need not tell of its batches.
        take({n: outputs[n] for n, i in enumerate(waiting) if i not in self.done})

    def _take(self, label: str, waiting: Sequence[int], answers: Mapping[int, str]) -> None:
        """Score and keep the answers of a batch, each with its share of time and tokens."""
        seconds, tokens = self.lap
        self.lap = time.perf_counter(), self.system.new_tokens
        share = 1 / max(len(answers), 1)
        for place, output in answers.items():
            i = waiting[place]
            self.done[i] = _predict(
                self.examples[i],
                output,
                self.metric,
                seconds=(self.lap[0] - seconds) * share,
                new_tokens=(self.lap[1] - tokens) * share,
            )
            if self.journal is not None:
                self.journal.add(i, self.done[i])
        if self.progress is not None:
            self.progress(len(self.done), len(self.examples), label)


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


def _predict(
    example: Example, output: str, metric: Metric, *, seconds: float, new_tokens: float
) -> Prediction:
    scored = score(output, example, metric)
    return Prediction(
        id=example.id,
        language=example.language,
        text=example.text,
        answer=example.answer,
        output=output,
        parsed=scored.parsed,
        correct=scored.correct,
        reference=reference(example, metric) if metric == "translation" else None,
        seconds=seconds,
        new_tokens=new_tokens,
    )
