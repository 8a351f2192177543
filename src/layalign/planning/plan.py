"""A recipe's training on devices that are not here, from sizes alone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from layalign.errors import ConfigError, nearest
from layalign.planning.estimate import USABLE, Setup, estimate_stage
from layalign.train.methods import plan_method
from layalign.train.plan import outline_run
from layalign.train.planned_stage import PlannedStage
from layalign.train.recipe import Recipe

Means = Mapping[str, tuple[float, float, float]]


def plan_training(recipe: Recipe, setup: Setup, *, means: Means | None = None) -> dict[str, Any]:
    """Estimate memory, time and cost of every stage of a recipe; nothing is downloaded.

    What is known of data and sizes is what a dry run knows of them; see
    :func:`layalign.train.plan.make_plan`.

    Args:
        recipe: The run.
        setup: The devices, and what is assumed of them.
        means: For stages by name, mean tokens of an example in encoder, prompt and target; without
            it those of the data, or all examples as long as allowed.

    Returns:
        Plain values:

        * ``device``, ``assumptions``: what was reckoned with.
        * ``parameters``, ``sources``, ``missing``: as of a dry run.
        * ``stages``: for each by name the values of :class:`StageEstimate`.
        * ``total``: for each strategy by name whether all stages ``fits``, and ``hours`` and
          ``cost`` of all, None if those of a stage are not known.

    Raises:
        LayAlignError: Data or a configuration is there but cannot be used, sizes are not known, or
            a batch cannot be divided among the devices.
    """
    method = plan_method(recipe)
    # On a GPU, where this is to run, that is the fastest.
    dtype = "bfloat16" if recipe.dtype == "fastest" else recipe.dtype
    with tempfile.TemporaryDirectory() as folder:
        found = outline_run(method, folder=Path(folder))
        _assume(found.stages, means or {})
        if found.parameters is None:
            raise ConfigError(
                f"the sizes of {' and '.join(found.unknown)} are not known; give a config.json, "
                "its folder, or sizes in numbers with --encoder or --llm"
            )
        stages = {s.name: estimate_stage(s, setup, dtype=dtype).to_dict() for s in found.stages}
    return {
        "device": asdict(setup.device),
        "assumptions": {
            "devices": setup.devices,
            "utilisation": setup.utilisation,
            "usable_memory": USABLE,
            "price": setup.price,
        },
        "parameters": found.parameters,
        "stages": stages,
        "total": _total(stages),
        "sources": found.sources,
        "missing": found.missing,
    }


def _assume(stages: list[PlannedStage], means: Means) -> None:
    """Let stages have the means that are given."""
    by_name = {stage.name: stage for stage in stages}
    for name, mean in means.items():
        if name not in by_name:
            raise ConfigError(
                f"mean lengths are given for {name!r}, but the stages of this run are "
                f"{', '.join(by_name)}{nearest(name, by_name)}"
            )
        if not all(tokens >= 0 for tokens in mean) or not sum(mean):
            raise ConfigError(
                f"mean lengths of {name} are {mean}; expected 0 or more tokens, not all of them 0"
            )
        by_name[name].mean, by_name[name].tokens_from = mean, "given"


def _total(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for stage in stages.values():
        for row in stage["strategies"]:
            rows.setdefault(row["strategy"], []).append(row)
    return {
        name: {
            "label": parts[0]["label"],
            "fits": all(part["fits"] for part in parts),
            **{key: _sum([part[key] for part in parts]) for key in ("hours", "cost")},
        }
        for name, parts in rows.items()
    }


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
