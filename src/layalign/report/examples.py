"""Questions with the answers of all methods side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from layalign.data.languages import is_language, language_name
from layalign.eval.journal import read_predictions
from layalign.eval.results import Prediction
from layalign.report.records import Scores
from layalign.report.text import visible

_Key = tuple[str, str, str, int]


def examples_of(scores: Scores) -> dict[str, Any] | None:
    """Lay the answers to the same questions side by side.

    Returns:
        Plain values: ``title``, ``methods`` (labels), ``languages`` (name and tag), ``seeds`` (of
        the runs that answered, where there were several) and ``items``, each with ``language`` (its
        place in ``languages``), ``question``, ``reference`` and ``answers`` (place of the method,
        output, answer found, right or not). None if nobody kept answers.

    Raises:
        DataError: A file of predictions is damaged.
    """
    methods = [method for method in scores.methods if method.predictions is not None]
    rows: dict[_Key, dict[str, Any]] = {}
    tags: dict[str, int] = {}
    for number, method in enumerate(methods):
        assert method.predictions is not None
        for key, prediction in _keyed(read_predictions(method.predictions)):
            row = rows.setdefault(
                key,
                {
                    "language": tags.setdefault(prediction.language, len(tags)),
                    "question": visible(prediction.text),
                    "reference": visible(_reference(prediction)),
                    "answers": [],
                },
            )
            row["answers"].append(_answer(number, prediction))
    if not rows:
        return None
    return {
        "title": visible(scores.title),
        "methods": [visible(method.label) for method in methods],
        "languages": [[visible(_name(tag)), visible(tag)] for tag in tags],
        "seeds": sorted({method.seed for method in methods if method.seed is not None}),
        "items": list(rows.values()),
    }


def _keyed(predictions: Iterable[Prediction]) -> Iterable[tuple[_Key, Prediction]]:
    """Tell questions by what is asked; a question asked twice is two examples."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for prediction in predictions:
        asked = (prediction.language, prediction.text, _reference(prediction))
        yield (*asked, seen[asked]), prediction
        seen[asked] += 1


def _reference(prediction: Prediction) -> str:
    return prediction.answer if prediction.answer is not None else prediction.reference or ""


def _answer(number: int, prediction: Prediction) -> list[Any]:
    parsed = None if prediction.parsed is None else visible(prediction.parsed)
    return [number, visible(prediction.output.strip()), parsed, prediction.correct]


def _name(tag: str) -> str:
    return language_name(tag) if is_language(tag) else tag
