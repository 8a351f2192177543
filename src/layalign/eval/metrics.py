"""Score single answers, and turn scores into accuracies with 95 % intervals.

Percent are 0-100. Languages of one benchmark are not independent, because their items are
translations of each other; intervals of averages therefore resample ids, not rows.
"""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal, get_args

import numpy as np

from layalign.data import Example
from layalign.errors import ConfigError, DataError
from layalign.eval.answers import numbers_equal, parse_choice, parse_number

Metric = Literal["number", "choice", "exact", "translation"]
METRICS: tuple[str, ...] = get_args(Metric)

_Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one output says, and whether that is the gold answer."""

    parsed: str | None
    """The answer found in the output; None if there is none."""

    correct: bool | None
    """Whether it is the gold answer; None where only all outputs together have a score."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure in percent with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A figure for which there is no interval."""

    value: float
    low: None = None
    high: None = None


def check_metric(metric: str) -> None:
    """Refuse an unknown metric.

    Raises:
        ConfigError: Names the metrics there are.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)}")


def score(output: str, example: Example, metric: Metric) -> Score:
    """Compare one output with the gold answer of its example.

    Args:
        output: What the system wrote.
        example: Needs ``answer``; for ``"exact"`` the ``target`` serves if there is no answer, and
            ``"translation"`` needs the ``target``.
        metric: ``"number"``, ``"choice"``, ``"exact"`` (same text but for case and spaces) or
            ``"translation"``, which is scored by :mod:`layalign.eval.translation` as a whole.

    Raises:
        DataError: The example has no gold answer of the kind that the metric needs.
        ConfigError: Unknown metric.
    """
    check_metric(metric)
    gold = reference(example, metric)
    if metric == "number":
        return _score_number(output, gold, example)
    if metric == "choice":
        labels = choice_labels(example)
        parsed = parse_choice(output, labels, example.choices)
        return Score(parsed=parsed, correct=parsed == gold)
    if metric == "translation":
        return Score(parsed=output.strip() or None, correct=None)
    found = _normalise(output)
    return Score(parsed=found or None, correct=found == _normalise(gold))


def _score_number(output: str, gold: str, example: Example) -> Score:
    expected = parse_number(gold)
    if expected is None:
        raise _no_gold(example, f"the answer {gold!r}", "number")
    found = parse_number(output)
    parsed = None if found is None else format(found, "f")
    return Score(parsed=parsed, correct=numbers_equal(found, expected))


def reference(example: Example, metric: Metric) -> str:
    """Return what an output is compared with.

    Raises:
        DataError: The example does not have it.
    """
    if metric == "translation":
        gold = example.target
    else:
        gold = example.target if metric == "exact" and example.answer is None else example.answer
    if gold is None:
        raise _no_gold(example, f"no {'target' if metric == 'translation' else 'answer'}", metric)
    return gold


def choice_labels(example: Example) -> tuple[str, ...]:
    """Return the labels of the choices: A, B, C …, or the choices if the gold answer is one.

    Raises:
        DataError: The gold answer is neither a choice nor the letter of one.
    """
    gold, letters = example.answer, tuple(ascii_uppercase[: len(example.choices)])
    for labels in (example.choices, letters):
        if gold in labels:
            return labels
    found = f"the answer {gold!r} among the choices {example.choices}"
    raise _no_gold(example, found, "choice")


def _no_gold(example: Example, found: str, metric: str) -> DataError:
    expected = {
        "number": "a number as answer",
        "choice": "choices, and as answer one of them or its letter",
        "exact": "an answer or a target",
        "translation": "the English text as target",
    }
    where = f"example {example.id or example.text[:40]!r} ({example.language})"
    return DataError(f"{where} has {found}; metric {metric!r} needs {expected[metric]}")


def _normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def wilson_interval(correct: int, items: int) -> Estimate:
    """Return the share of correct items with its Wilson score interval.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).

    Raises:
        ValueError: ``items`` is not positive or smaller than ``correct``.
    """
    if not 0 <= correct <= items or items == 0:
        raise ValueError(f"expected 0 <= correct <= items and items > 0, got {correct} of {items}")
    share, z2 = correct / items, _Z95**2
    centre = (share + z2 / (2 * items)) / (1 + z2 / items)
    spread = share * (1 - share) / items + z2 / (4 * items**2)
    half = _Z95 * math.sqrt(spread) / (1 + z2 / items)
    # Rounding must not put the share itself outside its interval.
    low, high = max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
    return Estimate(value=100 * share, low=100 * low, high=100 * high)


def macro_average(
    values: Mapping[str, Mapping[str, float]], *, samples: int = 1000, seed: int = 0
) -> Estimate:
    """Average a score over languages, each language counting the same.

    The interval is a percentile bootstrap that draws ids with replacement and takes each drawn id
    in all languages at once. Given differences between two systems, it is the paired bootstrap.

    Args:
        values: For each language, the score of each id: 0 or 1, or a difference of those.
        samples: Number of bootstrap samples.
        seed: Of the random draws.

    Returns:
        The average in percent and its 95 % interval.

    Raises:
        ValueError: No languages, or one without items.
    """
    if not values or not all(values.values()):
        raise ValueError("macro_average needs at least one item in every language")
    ids = {id_: row for row, id_ in enumerate(dict.fromkeys(i for v in values.values() for i in v))}
    scores, present = np.zeros((2, len(ids), len(values)))
    for column, items in enumerate(values.values()):
        rows = [ids[id_] for id_ in items]
        scores[rows, column] = list(items.values())
        present[rows, column] = 1
    rng = np.random.default_rng(seed)
    means: list[float] = []
    for _ in range(samples):
        drawn = np.bincount(rng.integers(len(ids), size=len(ids)), minlength=len(ids))
        counts = drawn @ present
        drew = counts > 0  # with few items a language may be missing from a sample
        means.append(float(np.mean((drawn @ scores)[drew] / counts[drew])))
    low, high = np.percentile(means, [2.5, 97.5]) * 100
    value = np.mean(scores.sum(0) / present.sum(0)) * 100
    return Estimate(value=float(value), low=float(low), high=float(high))
