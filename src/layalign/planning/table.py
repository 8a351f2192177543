"""Show what a training would take as terminal tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from layalign.train.plan_report import column_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PARTS = ("weights", "gradients", "optimizer", "activations", "buffers", "total")
_FROM = {
    "sample": "mean of a sample",
    "given": "mean, as given",
    "lengths": "all as long as allowed: an upper bound",
}
_UNITS = (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9))
_LEGEND = (
    "Memory: GiB on each device for a pass over the longest examples. Update: seconds of one, the\n"
    "longer of computing and sending, which go on side by side. MFU: share of the devices' peak."
)


def print_training_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Print what :func:`layalign.planning.plan_training` returns."""
    for line in _assumptions(plan):
        console.print(line, highlight=False, markup=False)
    for name, stage in plan["stages"].items():
        console.print(f"\n{_heading(name, stage)}", highlight=False, markup=False)
        console.print(_memory(stage["strategies"]))
        console.print(_time(stage["strategies"]))
        if not any(row["fits"] for row in stage["strategies"]):
            console.print(_too_large(name), style="yellow", highlight=False, markup=False)
    console.print(_total(plan["total"]))
    console.print(_LEGEND, style="dim", highlight=False, markup=False)
    for what in plan["missing"]:
        console.print(f"not found: {what}", style="yellow", highlight=False, markup=False)


def _assumptions(plan: Mapping[str, Any]) -> list[str]:
    device, assumed = plan["device"], plan["assumptions"]
    return [
        f"{assumed['devices']} x {device['name']}: {device['memory'] / 1e9:,.0f} GB, "
        f"{device['flops'] / 1e12:,.4g} TFLOP/s in bfloat16, {device['bandwidth'] / 1e9:,.4g} GB/s "
        f"({device['source']})",
        f"assumed: products reach {100 * assumed['utilisation']:g} % of that, "
        f"{device['interconnect'] / 1e9:,.4g} GB/s between devices, "
        f"{100 * assumed['usable_memory']:g} % of the memory usable, "
        f"{assumed['price']:g} a device hour",
    ]


def _heading(name: str, stage: Mapping[str, Any]) -> str:
    count = "examples" if stage["examples"] is None else f"{stage['examples']:,.0f} examples"
    lengths = "+".join(f"{tokens:.4g}" for tokens in stage["mean"])
    total = "" if stage["flops"] is None else f", {_operations(stage['flops'])} in all"
    return (
        f"{name}: {count} of {lengths} tokens in encoder, prompt and target "
        f"({_FROM[stage['tokens_from']]}), "
        f"{_operations(stage['operations_per_example'])} each{total}"
    )


def _operations(count: float) -> str:
    unit, size = next((unit for unit in _UNITS if count >= unit[1]), _UNITS[-1])
    return f"{count / size:,.3g} {unit}"


def _memory(rows: list[Mapping[str, Any]]) -> Table:
    table = column_table("Memory", *(part.capitalize() for part in _PARTS), "Fits")
    for row in rows:
        cells = (f"{row['memory'][part] / 2**30:,.2f}" for part in _PARTS)
        table.add_row(row["label"], *cells, "yes" if row["fits"] else "no")
    return table


def _time(rows: list[Mapping[str, Any]]) -> Table:
    table = column_table("Time", "Update", "Computing", "Sending", "MFU", "Hours", "Cost")
    for row in rows:
        keys = ("seconds_per_update", "compute_seconds", "communication_seconds")
        seconds = (f"{row[key]:,.2f}" for key in keys)
        figures = (_figure(row["hours"]), _figure(row["cost"]))
        table.add_row(row["label"], *seconds, f"{100 * row['mfu']:.0f} %", *figures)
    return table


def _too_large(name: str) -> str:
    return (
        f"{name} fits under no strategy: set a smaller stage.{name}.micro_batch_size, or "
        f"stage.{name}.gradient_checkpointing=true"
    )


def _total(total: Mapping[str, Mapping[str, Any]]) -> Table:
    table = column_table("All stages", "Fits", "Hours", "Cost")
    for row in total.values():
        fits = "yes" if row["fits"] else "no"
        table.add_row(row["label"], fits, _figure(row["hours"]), _figure(row["cost"]))
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"
