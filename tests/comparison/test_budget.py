from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.comparison.budget import LIMIT_OF, limits, total_budget
from layalign.errors import ConfigError
from layalign.train.comparing import ComparisonRecipe
from layalign.train.stages import StageConfig


def stages(**amounts: dict[str, float]) -> dict[str, StageConfig]:
    return {name: StageConfig(**limit) for name, limit in amounts.items()}


@given(
    kind=st.sampled_from(sorted(LIMIT_OF)),
    own=st.lists(st.integers(1, 1000), min_size=1, max_size=3),
    budget=st.integers(10_000, 10**6),
)
def test_the_ratio_stays_and_the_sum_is_the_budget(kind, own, budget) -> None:
    limit = LIMIT_OF[kind]
    configs = stages(**{f"s{i}": {limit: amount} for i, amount in enumerate(own)})
    settings = ComparisonRecipe(equal=kind)
    split = [limited[limit] for limited in limits(settings, budget, configs).values()]
    assert sum(split) == pytest.approx(budget)
    for part, amount in zip(split, own, strict=True):
        assert part == pytest.approx(budget * amount / sum(own), abs=len(own))
    if kind == "examples":
        assert all(isinstance(part, int) for part in split)


def test_all_other_limits_are_lifted() -> None:
    configs = stages(task={"max_updates": 5, "max_minutes": 3.0})
    limited = limits(ComparisonRecipe(), 100, configs)["task"]
    assert limited.pop("max_examples") == 100
    assert set(limited.values()) == {None}
    assert StageConfig.from_dict({**configs["task"].to_dict(), **limited, "max_examples": 1})


def test_shares_stand_in_for_missing_limits() -> None:
    settings = ComparisonRecipe(shares={"translation": 1, "task": 4, "other": 100})
    split = limits(settings, 50, stages(translation={"epochs": 1}, task={"max_examples": 1}))
    assert [limited["max_examples"] for limited in split.values()] == [10, 40]


def test_a_single_stage_has_it_all() -> None:
    assert limits(ComparisonRecipe(), 50, stages(task={}))["task"]["max_examples"] == 50
    assert limits(ComparisonRecipe(), 50, {}) == {}


def test_the_recipes_own_budget() -> None:
    configs = stages(translation={"max_minutes": 0.5}, task={"max_minutes": 7.0})
    assert total_budget(ComparisonRecipe(equal="time"), configs) == 7.5
    assert total_budget(ComparisonRecipe(equal="time", budget=3), configs) == 3
    with pytest.raises(ConfigError, match=r"stage\.translation has no max_examples"):
        total_budget(ComparisonRecipe(), configs)
