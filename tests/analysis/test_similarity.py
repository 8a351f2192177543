"""Similarity, retrieval and projection, against plain re-statements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.analysis.similarity import (
    cosines,
    pair_similarity,
    principal_components,
    retrieval_accuracy,
)

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 9)


def rows(seed: int, n: int, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


@given(seeds, sizes)
def test_cosines(seed: int, n: int) -> None:
    left, right = rows(seed, n), rows(seed + 1, 3)
    found = cosines(left, right)
    for i in range(n):
        for j in range(3):
            lengths = np.sqrt((left[i] ** 2).sum()) * np.sqrt((right[j] ** 2).sum())
            assert found[i, j] == pytest.approx((left[i] * right[j]).sum() / lengths)
    assert np.diagonal(cosines(left, 7 * left)) == pytest.approx(np.ones(n))


def test_a_zero_vector_is_like_nothing() -> None:
    assert cosines(np.zeros((1, 4)), np.ones((1, 4))) == 0


@given(seeds, sizes)
def test_retrieval(seed: int, n: int) -> None:
    left, right = rows(seed, n), rows(seed + 1, n)
    assert retrieval_accuracy(left, left * 3) == 100
    assert retrieval_accuracy(left, right) == pytest.approx(retrieval_accuracy(right, left))
    nearest = [max(range(n), key=lambda j: cosines(left, right)[i, j]) for i in range(n)]
    back = [max(range(n), key=lambda i: cosines(left, right)[i, j]) for j in range(n)]
    hits = sum(i == j for i, j in enumerate(nearest)) + sum(i == j for i, j in enumerate(back))
    assert retrieval_accuracy(left, right) == pytest.approx(100 * hits / (2 * n))


@pytest.mark.parametrize("n", [1, 4, 10])
def test_representations_that_are_all_alike_score_as_guessing_does(n: int) -> None:
    same = np.ones((n, 6))
    assert retrieval_accuracy(same, same) == pytest.approx(100 / n)


@given(seeds, sizes)
def test_pairs_and_others(seed: int, n: int) -> None:
    left, right = rows(seed, n), rows(seed + 1, n)
    found = cosines(left, right)
    others = [found[i, j] for i in range(n) for j in range(n) if i != j]
    assert pair_similarity(left, right) == {
        "pairs": pytest.approx(np.mean([found[i, i] for i in range(n)])),
        "others": pytest.approx(np.mean(others)),
    }


def test_one_pair_has_no_others() -> None:
    found = pair_similarity(np.ones((1, 4)), np.ones((1, 4)))
    assert found == {"pairs": 1.0, "others": None}


@given(seeds, st.integers(4, 12))
def test_principal_components(seed: int, n: int) -> None:
    data = rows(seed, n)
    coordinates, shares = principal_components(data)
    centred = data - data.mean(0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    expected = centred @ directions[:, ::-1][:, :2]
    assert np.abs(coordinates) == pytest.approx(np.abs(expected), abs=1e-6)
    assert shares == pytest.approx(values[::-1][:2] / values.sum())
    furthest = np.abs(coordinates).argmax(0)
    assert (coordinates[furthest, [0, 1]] > 0).all()


def test_rows_that_do_not_differ_lie_on_one_point() -> None:
    for n in (1, 3):
        coordinates, shares = principal_components(np.ones((n, 4)))
        assert not coordinates.any()
        assert not shares.any()
