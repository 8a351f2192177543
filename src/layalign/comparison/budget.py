"""The same budget for every method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layalign.errors import ConfigError
from layalign.train.comparing import ComparisonRecipe
from layalign.train.stages import StageConfig

LIMIT_OF = {"examples": "max_examples", "time": "max_minutes", "flops": "max_flops"}
"""The limit of a stage that each kind of budget sets: examples, minutes, operations."""
_LIMITS = ("epochs", "max_updates", "max_tokens", *LIMIT_OF.values())


def total_budget(settings: ComparisonRecipe, stages: Mapping[str, StageConfig]) -> float:
    """The budget in all, that of the recipe's own stages by default.

    Args:
        settings: Of the comparison.
        stages: Of the reference method, without the English fine-tune.

    Raises:
        ConfigError: There is no budget and not every stage has a limit of its kind.
    """
    if settings.budget is not None:
        return settings.budget
    limit = LIMIT_OF[settings.equal]
    amounts = {name: getattr(config, limit) for name, config in stages.items()}
    missing = [name for name, amount in amounts.items() if amount is None]
    if missing or not amounts:
        where = f", since stage.{missing[0]} has no {limit}" if missing else ""
        raise ConfigError(
            f"equal {settings.equal} of how much? Give a budget (comparison.budget or "
            f"--budget){where}"
        )
    return float(sum(amounts.values()))


def limits(
    settings: ComparisonRecipe, total: float, stages: Mapping[str, StageConfig]
) -> dict[str, dict[str, Any]]:
    """Split a budget over the stages of one method.

    Args:
        settings: Of the comparison.
        total: To be split in the ratio of the stages' own limits of the kind, else of
            ``settings.shares``.
        stages: Of the method, without the English fine-tune.

    Returns:
        The limits of each stage; all but one are None.

    Raises:
        ConfigError: The ratio is not known, or a stage would get nothing.
    """
    limit = LIMIT_OF[settings.equal]
    parts = _parts(settings, stages, limit)
    amounts = [total * part / sum(parts) for part in parts]
    if settings.equal == "examples":
        counts = [int(amount) for amount in amounts[:-1]]
        amounts = [*counts, int(total) - sum(counts)] if amounts else []
    for name, amount in zip(stages, amounts, strict=True):
        if amount <= 0:
            raise ConfigError(f"a budget of {total:g} {settings.equal} leaves none for {name}")
    return {
        name: {**dict.fromkeys(_LIMITS), limit: amount}
        for name, amount in zip(stages, amounts, strict=True)
    }


def _parts(
    settings: ComparisonRecipe, stages: Mapping[str, StageConfig], limit: str
) -> list[float]:
    if len(stages) == 1:
        return [1.0]
    own = [getattr(config, limit) for config in stages.values()]
    known = [part for part in own if part is not None]
    if len(known) == len(own):
        return known
    missing = [name for name in stages if name not in settings.shares]
    if missing:
        raise ConfigError(
            f"how the budget is split is not known: set comparison.shares.{missing[0]}, or "
            f"{limit} of each of stage.{', stage.'.join(stages)}"
        )
    return [settings.shares[name] for name in stages]
