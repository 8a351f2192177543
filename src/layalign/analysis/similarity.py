"""Similarity of representations: pure functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

_DIGITS = 6
"""Similarities that agree in so many decimals are equal, as rounding differs between batches."""


def unit_rows(vectors: Array) -> Array:
    """Scale the vectors of the last axis to length 1, in float64; a zero vector stays one."""
    exact = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(exact, axis=-1, keepdims=True)
    scaled: Array = exact / np.where(norms == 0, 1, norms)
    return scaled


def cosines(left: Array, right: Array) -> Array:
    """Cosine of every row of one array with every row of the other.

    Args:
        left: ``(n, width)``.
        right: ``(m, width)``.

    Returns:
        ``(n, m)``, from -1 to 1.
    """
    products: Array = unit_rows(left) @ unit_rows(right).T
    return products


def pair_similarity(left: Array, right: Array) -> dict[str, float | None]:
    """Mean cosine of translations, and beside it of sentences that are none.

    Args:
        left: ``(n, width)``, one row a sentence.
        right: The same of their translations, in the same order.

    Returns:
        ``pairs``, and ``others``: the mean over every sentence with the translation of every other
        one, which says how alike any two sentences are; None for a single pair.
    """
    found = cosines(left, right)
    n = len(found)
    total, pairs = float(found.sum()), float(np.trace(found))
    others = (total - pairs) / (n * n - n) if n > 1 else None
    return {"pairs": pairs / n, "others": others}


def retrieval_accuracy(left: Array, right: Array) -> float:
    """How often the nearest neighbour by cosine is the translation, mean of both directions.

    Several nearest ones share the point, so that representations that are all alike score as
    guessing does, ``1 / n``.

    Args:
        left: ``(n, width)``, one row a sentence.
        right: The same of their translations, in the same order.

    Returns:
        Percent, 0–100.
    """
    found = cosines(left, right).round(_DIGITS)
    own = np.diagonal(found)
    shares = []
    for axis in (0, 1):
        best = found.max(axis)
        ties = (found == np.expand_dims(best, axis)).sum(axis)
        shares.append(np.where(own == best, 1 / ties, 0.0).mean())
    return 100 * float(np.mean(shares))


def principal_components(rows: Array, count: int = 2) -> tuple[Array, Array]:
    """Project rows on the directions in which they differ most.

    Args:
        rows: ``(n, width)``.
        count: Of directions.

    Returns:
        Coordinates ``(n, count)``, and the share of the variance in each direction ``(count,)``,
        0–1. The sign of a direction is the one that makes the largest of its coordinates, by
        absolute value, positive. Directions that the rows do not have are zero.
    """
    centred = np.asarray(rows, dtype=np.float64) - np.mean(rows, axis=0, dtype=np.float64)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    variances = strength**2
    coordinates = np.zeros((len(centred), count))
    shares = np.zeros(count)
    found = min(count, len(strength))
    coordinates[:, :found] = left[:, :found] * strength[:found]
    shares[:found] = variances[:found] / (variances.sum() or 1.0)
    furthest = np.abs(coordinates).argmax(axis=0)
    signs = np.sign(coordinates[furthest, np.arange(count)])
    return coordinates * np.where(signs == 0, 1, signs), shares
