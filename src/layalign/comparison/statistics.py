"""How sure accuracies and their differences are. Plain arrays, no torch.

Two things are drawn at random when a method is measured: its seed and the questions. Questions with
one id are translations of each other, so what is drawn is an id, in all languages at once. Methods
are compared on the same draws, which makes the tests paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layalign.eval.metrics import Estimate

Floats = NDArray[np.float64]

SAMPLES = 10_000
LEVEL = 0.05
_CHUNK = 500  # draws at a time, so that thousands of questions fit into memory
_PERCENTILES = (2.5, 97.5)
_DECIMALS = 12  # so that what is even is not decided by rounding


@dataclass(frozen=True)
class Draws:
    """Bootstrap draws, the same for all methods.

    Args:
        present: Which ids there are in each language, ``(n_ids, n_languages)``.
        seed: Of the draws.
        samples: How many.
    """

    present: NDArray[np.bool_]
    seed: int = 0
    samples: int = SAMPLES

    def accuracies(self, correct: Floats) -> Floats:
        """Accuracy in each draw of seeds and ids.

        Args:
            correct: 0 or 1, or a difference of those, 0 where an id is not present:
                ``(n_seeds, n_ids, n_languages)``.

        Returns:
            Percent, ``(samples, n_languages)``; NaN where a draw has no question of a language.
        """
        n_seeds, n_ids, _ = correct.shape
        # Two sources of random numbers: which ids are drawn must not depend on how many seeds.
        seeds, ids = (np.random.default_rng([self.seed, part]) for part in (0, 1))
        rows = []
        for first in range(0, self.samples, _CHUNK):
            count = min(_CHUNK, self.samples - first)
            drawn = ids.multinomial(n_ids, np.full(n_ids, 1 / n_ids), size=count).astype(float)
            weights = seeds.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=count)
            right = np.einsum("bs,sbl->bl", weights / n_seeds, drawn @ correct)
            items = drawn @ self.present
            rows.append(np.divide(right, items, out=np.full_like(right, np.nan), where=items > 0))
        return 100 * np.concatenate(rows)


def point(correct: Floats, present: NDArray[np.bool_]) -> Floats:
    """Accuracy in each language over all seeds, percent, ``(n_languages,)``."""
    mean: Floats = 100 * correct.mean(0).sum(0) / present.sum(0)
    return mean


def estimate(value: Floats, drawn: Floats, columns: Sequence[int]) -> Estimate:
    """Average some languages, each counting the same, with a 95 % percentile interval.

    Args:
        value: ``(n_languages,)``.
        drawn: ``(samples, n_languages)``.
        columns: Of the languages.
    """
    low, high = np.nanpercentile(_average(drawn, columns), _PERCENTILES)
    return Estimate(value=float(value[list(columns)].mean()), low=float(low), high=float(high))


def bootstrap_p(drawn: Floats, columns: Sequence[int]) -> float:
    """Two-sided p-value of an average difference: how often a draw lies on the other side of 0.

    Args:
        drawn: Differences in each draw, ``(samples, n_languages)``.
        columns: Of the languages.
    """
    averages = _average(drawn, columns)
    averages = averages[~np.isnan(averages)]
    tails = ((averages <= 0).sum(), (averages >= 0).sum())
    return float(min(1.0, 2 * (1 + min(tails)) / (1 + len(averages))))


def mcnemar_p(difference: Floats, columns: Sequence[int], present: NDArray[np.bool_]) -> float:
    """Two-sided p-value of McNemar's exact test, with ids as pairs.

    An id counts for the method that answers it right more often, over all seeds and languages,
    each language counting the same as in the average; ids that are even count for neither. With
    one seed and one language that is McNemar's test itself. Where more ids are won by the method
    whose average is lower, there is no evidence, and the p-value is 1.

    Runs and translations of one question are not independent, so they are not pairs of their own,
    which would make small differences look sure; and unlike a majority over seeds, the sum knows a
    winner with two seeds too.

    Source: McNemar, Note on the sampling error of the difference between correlated proportions or
    percentages (1947), in its exact form.

    Args:
        difference: ``(n_seeds, n_ids, n_languages)``.
        columns: Of the languages.
        present: Which ids there are in each language, ``(n_ids, n_languages)``.
    """
    from scipy.stats import binomtest

    chosen = list(columns)
    votes = (difference[:, :, chosen] / present[:, chosen].sum(0)).sum((0, 2)).round(_DECIMALS)
    wins, losses = int((votes > 0).sum()), int((votes < 0).sum())
    if (wins - losses) * votes.sum() <= 0:
        return 1.0
    return float(binomtest(wins, wins + losses).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for how many there are.

    Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(count, 0, -1)
    rising = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    corrected = np.empty(count)
    corrected[order] = np.minimum(rising, 1.0)
    return [float(p) for p in corrected]


def verdict(difference: float, p_corrected: float) -> str:
    """Say in words what a difference means: ``better``, ``worse`` or ``within noise``."""
    if p_corrected >= LEVEL:
        return "within noise"
    return "better" if difference > 0 else "worse"


def _average(drawn: Floats, columns: Sequence[int]) -> Floats:
    chosen = drawn[:, list(columns)]
    counts = (~np.isnan(chosen)).sum(1)
    sums = np.nansum(chosen, axis=1)
    averages: Floats = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return averages
