"""Against plain re-statements with loops, and properties that any such figure has."""

from __future__ import annotations

import itertools
from statistics import NormalDist, fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from layalign.comparison.statistics import (
    Draws,
    bootstrap_p,
    estimate,
    holm,
    mcnemar_p,
    point,
    verdict,
)

shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 3))
outcomes = shapes.flatmap(lambda shape: arrays(float, shape, elements=st.sampled_from([0.0, 1.0])))
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def everywhere(correct: np.ndarray) -> np.ndarray:
    return np.ones(correct.shape[1:], dtype=bool)


@given(outcomes)
@settings(max_examples=30, deadline=None)
def test_the_value_is_the_plain_mean_and_lies_in_its_interval(correct: np.ndarray) -> None:
    present = everywhere(correct)
    value = point(correct, present)
    for language in range(correct.shape[2]):
        assert value[language] == pytest.approx(100 * fmean(correct[:, :, language].flatten()))
    drawn = Draws(present, samples=200).accuracies(correct)
    found = estimate(value, drawn, range(correct.shape[2]))
    assert found.value == pytest.approx(value.mean())
    assert -1e-9 <= found.low <= found.high <= 100 + 1e-9


def test_draws_are_means_of_drawn_seeds_and_ids() -> None:
    """Every draw of two seeds and two ids is one of the few there are, and as frequent."""
    correct = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
    drawn = Draws(np.ones((2, 2), dtype=bool), samples=40_000).accuracies(correct)
    possible: dict[tuple[float, ...], float] = {}
    for seeds in itertools.product(range(2), repeat=2):
        for ids in itertools.product(range(2), repeat=2):
            rows = [correct[s][i] for s in seeds for i in ids]
            key = tuple(100 * fmean(column) for column in zip(*rows, strict=True))
            possible[key] = possible.get(key, 0) + 1 / 16
    rows, counts = np.unique(drawn.round(6), axis=0, return_counts=True)
    assert {tuple(row) for row in rows} == set(possible)
    for row, count in zip(rows, counts, strict=True):
        assert count / len(drawn) == pytest.approx(possible[tuple(row)], abs=0.015)


def test_a_single_seed_gives_the_normal_interval_of_many_questions() -> None:
    correct = np.zeros((1, 400, 1))
    correct[0, :160] = 1
    found = estimate(
        point(correct, everywhere(correct)), Draws(everywhere(correct)).accuracies(correct), [0]
    )
    half = 100 * NormalDist().inv_cdf(0.975) * (0.4 * 0.6 / 400) ** 0.5
    assert (found.low, found.high) == pytest.approx((40 - half, 40 + half), abs=0.6)


def test_seeds_that_differ_widen_the_interval() -> None:
    same = np.zeros((2, 100, 1))
    same[:, :50] = 1
    other = np.zeros((2, 100, 1))
    other[0, :80] = other[1, :20] = 1
    widths = []
    for correct in (same, other):
        present = everywhere(correct)
        found = estimate(point(correct, present), Draws(present).accuracies(correct), [0])
        assert found.value == 50
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_translations_are_drawn_together() -> None:
    """Ten languages with the same outcomes say no more than one."""
    one = np.zeros((1, 50, 1))
    one[0, :20] = 1
    ten = np.repeat(one, 10, axis=2)
    intervals = [
        estimate(point(c, everywhere(c)), Draws(everywhere(c)).accuracies(c), range(c.shape[2]))
        for c in (one, ten)
    ]
    assert intervals[0] == intervals[1]


def test_draws_do_not_depend_on_the_number_of_seeds() -> None:
    one = np.zeros((1, 30, 1))
    one[0, :7] = 1
    draws = Draws(everywhere(one), samples=700)
    assert np.allclose(draws.accuracies(one), draws.accuracies(np.repeat(one, 3, axis=0)))


def test_a_language_may_be_missing_from_a_draw() -> None:
    correct = np.array([[[1.0, 1.0], [0.0, 0.0]]])
    present = np.array([[True, True], [True, False]])
    drawn = Draws(present, samples=300).accuracies(correct)
    assert set(drawn[~np.isnan(drawn[:, 1]), 1]) == {100.0}
    assert np.isnan(drawn[:, 1]).any()
    assert estimate(point(correct, present), drawn, [0, 1]).value == 75
    assert 0 < bootstrap_p(drawn, [0, 1]) <= 1


@given(outcomes)
@settings(max_examples=30, deadline=None)
def test_tests_are_symmetric(difference: np.ndarray) -> None:
    difference = difference - difference[:, ::-1]
    columns = range(difference.shape[2])
    draws = Draws(everywhere(difference), samples=100)
    for test in (
        lambda d: mcnemar_p(d, columns, everywhere(d)),
        lambda d: bootstrap_p(draws.accuracies(d), columns),
    ):
        assert test(difference) == test(-difference)
        assert 0 < test(difference) <= 1


def test_no_difference_is_no_evidence() -> None:
    nothing = np.zeros((2, 20, 2))
    assert mcnemar_p(nothing, [0, 1], everywhere(nothing)) == 1
    assert bootstrap_p(Draws(everywhere(nothing), samples=100).accuracies(nothing), [0, 1]) == 1


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (5, 0), (8, 3), (4, 4), (0, 9)])
def test_mcnemar_counts_coin_flips(wins: int, losses: int) -> None:
    difference = np.zeros((1, 20, 1))
    difference[0, :wins] = 1
    difference[0, wins : wins + losses] = -1
    flips = [sum(row) for row in itertools.product((0, 1), repeat=wins + losses)]
    extreme = [n for n in flips if abs(2 * n - wins - losses) >= abs(wins - losses)]
    found = mcnemar_p(difference, [0], everywhere(difference))
    assert found == pytest.approx(len(extreme) / len(flips))


def test_mcnemar_takes_an_id_once() -> None:
    one = np.zeros((1, 20, 1))
    one[0, :6] = 1
    repeated = np.tile(one, (3, 1, 5))
    found = mcnemar_p(repeated, range(5), everywhere(repeated))
    assert found == mcnemar_p(one, [0], everywhere(one))
    even = np.stack([one[0], -one[0]])
    assert mcnemar_p(even, [0], everywhere(even)) == 1


def test_mcnemar_does_not_let_one_language_outvote_the_average() -> None:
    """Ahead on many questions of the large language, behind on the few of two small ones."""
    present = np.zeros((100, 3), dtype=bool)
    present[:, 0] = present[:20, 1:] = True
    difference = np.zeros((1, 100, 3))
    difference[0, 20:60, 0] = 1
    difference[0, :20, 1:] = -1
    assert point(difference, present).mean() < 0
    assert mcnemar_p(difference, range(3), present) == 1
    assert mcnemar_p(difference, [1, 2], present) < 0.001


@given(p_values)
def test_holm_steps_down(found: list[float]) -> None:
    corrected = holm(found)
    for own, p in zip(corrected, found, strict=True):
        # Largest of (number not smaller) * p over all that are not larger.
        steps = [
            other * sum(q > other or (q == other and j >= i) for j, q in enumerate(found))
            for i, other in enumerate(found)
            if other <= p
        ]
        assert own == pytest.approx(min(1.0, max(steps)))
        assert p <= own <= 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_verdicts() -> None:
    assert verdict(3.0, 0.04) == "better"
    assert verdict(-3.0, 0.04) == "worse"
    assert verdict(30.0, 0.05) == "within noise"
