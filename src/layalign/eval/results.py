"""What an evaluation leaves behind, as frozen records and as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from layalign.eval.metrics import Estimate, Metric, macro_average, wilson_interval


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
    correct: bool


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


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Everything that came out of one evaluation."""

    metric: Metric
    languages: Mapping[str, LanguageResult]
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
            f"{language}/{n}" if p.id is None else p.id: float(p.correct)
            for n, p in enumerate(rows)
        }

    def average(self, languages: Sequence[str] | None = None) -> Estimate:
        """Average accuracy over languages, all of them by default, each counting the same."""
        tags = self.languages if languages is None else languages
        return macro_average({tag: self.scores(tag) for tag in tags})

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


def summarise(predictions: Sequence[Prediction], seconds: float) -> LanguageResult:
    """Count the predictions of one language."""
    items, correct = len(predictions), sum(p.correct for p in predictions)
    accuracy = wilson_interval(correct, items)
    return LanguageResult(
        items=items,
        correct=correct,
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        unparsed=100 * sum(p.parsed is None for p in predictions) / items,
        seconds=seconds,
    )
