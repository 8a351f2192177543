"""What an evaluation leaves behind, as frozen records and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from layalign.eval.metrics import Estimate, Mean, Metric, macro_average, wilson_interval
from layalign.eval.translation import translation_scores


class Answer(NamedTuple):
    """What a system says to one example."""

    text: str
    new_tokens: int = 0
    """Tokens generated; 0 in log-likelihood scoring."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a system made of one example."""

    id: str | None
    language: str
    text: str
    answer: str | None
    """The gold answer."""
    output: str
    """What the system wrote."""
    parsed: str | None
    """The answer found in the output; None if there is none."""
    correct: bool | None
    """None if only all outputs together have a score."""
    reference: str | None = None
    """English text that the output is compared with, if it is not an answer."""
    seconds: float = 0.0
    """The time that its batch took, over the number of examples in it."""
    new_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class LanguageResult:
    """Figures of one language; ``accuracy``, ``low``, ``high`` and ``unparsed`` in percent."""

    items: int
    correct: int
    accuracy: float
    low: float
    """Lower end of the 95 % interval of the accuracy (Wilson)."""
    high: float
    unparsed: float
    """Share of the outputs in which no answer was found."""
    seconds: float
    """Sum over its items. Their batches may hold other languages too, so no language alone would
    take quite as long, or generate quite as many tokens in a second."""
    new_tokens: int = 0
    """Tokens generated; 0 in log-likelihood scoring."""
    tokens_per_second: float = 0.0

    @property
    def score(self) -> Estimate:
        """What systems are compared by."""
        return Estimate(value=self.accuracy, low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class TranslationResult:
    """Figures of one language's translations; ``chrf`` and ``bleu`` from 0 to 100."""

    items: int
    chrf: float
    low: float
    """Lower end of the 95 % interval of chrF (bootstrap)."""
    high: float
    bleu: float
    bleu_low: float
    bleu_high: float
    signatures: tuple[str, ...]
    """sacrebleu's, of chrF and of BLEU."""
    unparsed: float
    """Share of the outputs that are empty, percent."""
    seconds: float
    new_tokens: int
    tokens_per_second: float

    @property
    def score(self) -> Estimate:
        """What systems are compared by."""
        return Estimate(value=self.chrf, low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Everything that came out of one evaluation."""

    metric: Metric
    languages: Mapping[str, LanguageResult | TranslationResult]
    """By language tag, in the order in which the languages first occur."""
    predictions: tuple[Prediction, ...]
    """In the order of the examples."""
    new_tokens: int
    """Tokens generated."""
    seconds: float

    def scores(self, language: str) -> dict[str, float]:
        """Return 0 or 1 for each id of a language; rows without an id get one of their own."""
        rows = (p for p in self.predictions if p.language == language)
        return {
            f"{language}/{n}" if p.id is None else p.id: float(p.correct or 0)
            for n, p in enumerate(rows)
        }

    def average(self, languages: Sequence[str] | None = None) -> Estimate | Mean:
        """Average over languages, all of them by default, each counting the same.

        The average of translation scores has no interval.
        """
        tags = list(self.languages) if languages is None else list(languages)
        if self.metric == "translation":
            value = sum(self.languages[tag].score.value for tag in tags) / len(tags)
            return Mean(value=value)
        return macro_average({tag: self.scores(tag) for tag in tags})

    def gain(self, other: EvaluationResult, languages: Sequence[str]) -> Estimate | Mean:
        """Average difference to another system on the same examples, points."""
        if self.metric == "translation":
            value = self.average(languages).value - other.average(languages).value
            return Mean(value=value)
        differences = {}
        for tag in languages:
            theirs = other.scores(tag)
            differences[tag] = {i: s - theirs[i] for i, s in self.scores(tag).items()}
        return macro_average(differences)

    def figures(self) -> dict[str, float]:
        """What a system's answers to all examples have in common; ``unparsed`` in percent."""
        items = len(self.predictions)
        unparsed = sum(prediction.parsed is None for prediction in self.predictions)
        return {
            "items": items,
            "unparsed": 100 * unparsed / items,
            "seconds": self.seconds,
            "tokens_per_second": self.new_tokens / self.seconds if self.seconds else 0.0,
        }

    def to_dict(self, *, predictions: bool = False) -> dict[str, Any]:
        """Return plain values, ready for JSON.

        Args:
            predictions: Include every output.
        """
        values: dict[str, Any] = {
            "metric": self.metric,
            "average": asdict(self.average()),
            "languages": {tag: asdict(row) for tag, row in self.languages.items()},
            "new_tokens": self.new_tokens,
            "seconds": self.seconds,
        }
        if predictions:
            values["predictions"] = [asdict(prediction) for prediction in self.predictions]
        return values


def collect(metric: Metric, predictions: Sequence[Prediction]) -> EvaluationResult:
    """Put all predictions of one system together."""
    rows: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        rows.setdefault(prediction.language, []).append(prediction)
    summarise_language = _summarise_translation if metric == "translation" else summarise
    return EvaluationResult(
        metric=metric,
        languages={tag: summarise_language(row) for tag, row in rows.items()},
        predictions=tuple(predictions),
        new_tokens=sum(p.new_tokens for p in predictions),
        seconds=sum(p.seconds for p in predictions),
    )


def summarise(predictions: Sequence[Prediction]) -> LanguageResult:
    """Count the predictions of one language."""
    items, correct = len(predictions), sum(bool(p.correct) for p in predictions)
    accuracy = wilson_interval(correct, items)
    return LanguageResult(
        items=items,
        correct=correct,
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        **_shared(predictions),
    )


def _summarise_translation(predictions: Sequence[Prediction]) -> TranslationResult:
    scores = translation_scores(
        [p.output.strip() for p in predictions], [p.reference or "" for p in predictions]
    )
    chrf, bleu = (scores[name][0] for name in ("chrf", "bleu"))
    return TranslationResult(
        items=len(predictions),
        chrf=chrf.value,
        low=chrf.low,
        high=chrf.high,
        bleu=bleu.value,
        bleu_low=bleu.low,
        bleu_high=bleu.high,
        signatures=tuple(signature for _, signature in scores.values()),
        **_shared(predictions),
    )


def _shared(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Figures that do not depend on the metric."""
    seconds = sum(p.seconds for p in predictions)
    new_tokens = sum(p.new_tokens for p in predictions)
    return {
        "unparsed": 100 * sum(p.parsed is None for p in predictions) / len(predictions),
        "seconds": seconds,
        "new_tokens": new_tokens,
        "tokens_per_second": new_tokens / seconds if seconds else 0.0,
    }
