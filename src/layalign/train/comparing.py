"""What a recipe says about comparing methods; :mod:`layalign.comparison` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from layalign.errors import ConfigError

Kind = Literal["examples", "time", "flops"]


@dataclass(frozen=True, kw_only=True)
class ComparisonRecipe:
    """How methods are made comparable. Training by itself does not look at it."""

    changes: tuple[str, ...] = ()
    """Settings of the recipe that are others in a comparison, each ``dotted.key=value``."""

    equal: Kind = "examples"
    """What every method gets as much of: training examples, minutes or floating-point operations.
    With examples, results can be repeated exactly."""

    budget: float | None = None
    """How much of that, in all stages after the English fine-tune, which is the same for all; None
    for the sum of the limits that these stages have in the recipe."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """Parts of the budget by stage, for stages that have no limit of the kind in the recipe, whose
    ratio would be kept otherwise."""

    reference: str = "layalign"
    """The method that the others are tested against."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further groups of languages to average over."""

    def __post_init__(self) -> None:
        """Check the amounts."""
        amounts = {"budget": self.budget, **{f"shares.{k}": v for k, v in self.shares.items()}}
        for name, amount in amounts.items():
            if amount is not None and not amount > 0:
                raise ConfigError(f"{name} is {amount}; expected more than 0")
