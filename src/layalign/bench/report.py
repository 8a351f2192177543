"""Show what was measured as a terminal table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

Format = Callable[[Any], str]


def _times(value: float) -> str:
    return f"{value:.2f} ×"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _number(value: float) -> str:
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


# Of a row that has such an entry, in this order.
_COLUMNS: Mapping[str, tuple[str, Format]] = {
    "stage": ("Stage", str),
    "batch": ("Batch", str),
    "new_tokens": ("New tokens", str),
    "sequence": ("Positions", str),
    "ratio_to_bare": ("To bare LLM", _times),
    "ratio_to_published": ("To published", _times),
    "memory_ratio": ("Memory", _times),
    "memory_gib": ("GiB", _number),
    "seconds": ("Seconds", _number),
    "tokens_per_second": ("Tokens/s", _number),
    "peak_gib": ("Peak GiB", _number),
    "tflops_per_second": ("TFLOP/s", _number),
    "matmul_share": ("Matmul", _percent),
    "copy_share": ("Copy", _percent),
}
_LEGEND = (
    "To bare LLM, to published: LayAlign's time as a multiple of theirs, on as many tokens.\n"
    "Memory: the same of the GiB that a process needs. Matmul, copy: shares of the ceilings above."
)


def print_bench(console: Console, found: Mapping[str, Any]) -> None:
    """Print the result of any of the measurements."""
    machine, setup = found["machine"], found["setup"]
    console.print(
        f"{machine['device']}, {machine['threads']} threads, {setup['dtype']}: matrix products "
        f"{_number(machine['matmul_tflops_per_second'])} TFLOP/s, copying "
        f"{_number(machine['copy_gb_per_second'])} GB/s",
        highlight=False,
        markup=False,
    )
    console.print(_table(found["rows"]))
    console.print(_LEGEND, style="dim", highlight=False, markup=False)


def _table(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown = [key for key in _COLUMNS if any(row.get(key) is not None for row in rows)]
    for key in shown:
        table.add_column(_COLUMNS[key][0], justify="left" if key == "stage" else "right")
    for row in rows:
        table.add_row(*(_cell(key, row[key]) for key in shown))
    return table


def _cell(key: str, value: Any) -> str:
    return "-" if value is None else _COLUMNS[key][1](value)
