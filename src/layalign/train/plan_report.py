"""Show a plan as terminal tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

_MEMORY = ("weights", "gradients", "optimizer", "activations", "total")
_LEGEND = (
    "Longest: encoder + prompt + target tokens of the longest example, from the data, or as the\n"
    "recipe allows. Tokens: those of a sample times the examples, or (<=) all as long as allowed.\n"
    "Memory: GiB on each device for a pass over longest examples, scratch space not counted."
)


def print_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Print what :func:`layalign.train.plan.make_plan` says beside the counts of the stages."""
    console.print(_sources(plan["sources"]))
    if plan["parameters"] is not None:
        console.print(_parameters(plan["parameters"]))
    console.print(_stages(plan["stages"]))
    console.print(_LEGEND, style="dim", highlight=False, markup=False)
    for what in plan["missing"]:
        console.print(f"not found: {what}", style="yellow", highlight=False, markup=False)


def column_table(*columns: str, left: int = 1) -> Table:
    """An empty table; the columns after the first ``left`` are numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        justify: Any = "left" if number < left else "right"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def _sources(sources: list[Mapping[str, Any]]) -> Table:
    table = column_table("Data for", "Source", "Examples", left=2)
    for source in sources:
        count = f"{source['examples']:,}" if source["examples"] is not None else ""
        if not source["found"]:
            count = f"not found, {count} by its limit" if count else "not found"
        table.add_row(f"{source['stage']} ({source['part']})", source["where"], count)
    return table


def _parameters(counts: Mapping[str, int]) -> Table:
    table = column_table("Part", "Parameters", "Millions")
    for part, count in counts.items():
        table.add_row(part.replace("_", " "), f"{count:,}", f"{count / 1e6:,.2f}")
    return table


def _stages(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    table = column_table("Stage", "Longest", "Tokens", *(name.capitalize() for name in _MEMORY))
    for name, stage in stages.items():
        longest = "+".join(str(count) for count in stage["longest"].values())
        memory = stage["memory_per_device"]
        cells = ["-" if memory is None else f"{memory[part] / 2**30:,.2f}" for part in _MEMORY]
        table.add_row(name, longest, _tokens(stage), *cells)
    return table


def _tokens(stage: Mapping[str, Any]) -> str:
    tokens = stage["tokens"]
    if tokens is None:
        return "unknown"
    count = f"{tokens:,}" if tokens < 1e6 else f"{tokens / 1e6:,.1f} M"
    return f"<= {count}" if stage["tokens_from"] == "lengths" else count
