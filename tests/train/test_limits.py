import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.train.limits import Limits, Usage, make_limits, rate_factor

NONE = {
    "epochs": None,
    "max_updates": None,
    "max_examples": None,
    "max_tokens": None,
    "max_minutes": None,
    "max_flops": None,
}


@pytest.mark.parametrize(
    ("limits", "updates", "examples"),
    [
        ({"epochs": 3}, 8, 30),
        ({"epochs": 0.5}, 2, 5),
        ({"max_updates": 5}, 5, 20),
        ({"max_examples": 9}, 3, 9),
        ({"epochs": 3, "max_updates": 100}, 8, 30),
        ({"epochs": 3, "max_updates": 2, "max_examples": 11}, 2, 8),
        ({"max_minutes": 1}, None, None),
    ],
)
def test_counted_limits_become_one(limits, updates, examples):
    made = make_limits(n_examples=10, batch_size=4, **{**NONE, **limits})
    assert (made.updates, made.examples) == (updates, examples)


def test_progress_is_the_largest_fraction():
    limits = Limits(updates=10, tokens=100, seconds=60)
    assert limits.progress(Usage(updates=2, tokens=50, seconds=6)) == 0.5
    assert limits.progress(Usage(updates=2, tokens=10, seconds=90)) == 1.0
    assert limits.reached(Usage(updates=10))
    assert not limits.reached(Usage(updates=9, tokens=99, seconds=59))


def test_operations_end_a_stage():
    limits = make_limits(n_examples=10, batch_size=4, **{**NONE, "max_flops": 1e9})
    assert limits.progress(Usage(updates=2, flops=2e8)) == 0.2
    assert limits.progress_amid_update(Usage(updates=2, flops=2e8)) == 0.25
    assert limits.reached(Usage(flops=1e9))


def test_no_limit_is_never_reached():
    assert Limits().progress(Usage(updates=10**9, tokens=10**9, seconds=1e9)) == 0


def test_schedule_is_read_in_the_middle_of_updates():
    limits = Limits(updates=4)
    middles = [limits.progress_amid_update(Usage(updates=k)) for k in range(4)]
    assert middles == [0.125, 0.375, 0.625, 0.875]


def test_tokens_and_seconds_are_extrapolated():
    limits = Limits(tokens=100, seconds=100)
    assert limits.progress_amid_update(Usage()) == 0
    assert limits.progress_amid_update(Usage(updates=5, tokens=50, seconds=10)) == 0.55
    assert limits.progress_amid_update(Usage(updates=5, tokens=10, seconds=50)) == 0.55


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0]),
        ("linear", [0.0, 0.5, 1.0, 0.5, 0.0]),
        ("cosine", [0.0, 0.5, 1.0, 0.5, 0.0]),
    ],
)
def test_rate_factor(schedule, expected):
    found = [rate_factor(p, schedule=schedule, warmup=0.2) for p in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx(expected)


def test_cosine_is_a_cosine():
    assert rate_factor(0.25, schedule="cosine", warmup=0) == pytest.approx(
        (1 + math.cos(math.pi / 4)) / 2
    )


@given(
    st.floats(0, 1),
    st.sampled_from(["cosine", "linear", "constant"]),
    st.floats(0, 1, exclude_max=True),
)
def test_rate_factor_stays_between_0_and_1(progress, schedule, warmup):
    assert -1e-12 <= rate_factor(progress, schedule=schedule, warmup=warmup) <= 1
