"""A comparison as CSV, as Markdown and on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS = (
    *("recipe", "method", "label", "seeds", "language", "value", "low", "high"),
    *("difference", "difference_low", "difference_high"),
    *("p_bootstrap", "p_mcnemar", "p", "p_corrected", "verdict"),
)
_COSTS = (
    ("trained_parameters", "Trained parameters", "{:,.0f}"),
    ("training_seconds", "Training, s", "{:.0f}"),
    ("translation_seconds", "Translated, s", "{:.0f}"),
    ("tokens_per_second", "Tokens/s", "{:.0f}"),
    ("relative_speed", "Speed / bare", "{:.2f}"),
    ("peak_memory_gib", "Memory, GiB", "{:.1f}"),
)
_RENAMED = {"value": "difference", "low": "difference_low", "high": "difference_high"}
_FEW_SEEDS = 5
_UNIT_OF = {"examples": "training examples", "time": "minutes", "flops": "FLOPs"}

Values = Mapping[str, Any]


def to_csv(table: Values) -> str:
    """Write one row for each method and language or group of languages.

    Args:
        table: From :func:`layalign.comparison.table.make_table`.

    Returns:
        CSV with a header; averages have ``average: GROUP`` as language, and the differences to the
        reference stand with them. What a method costs follows in rows whose language is
        ``cost: NAME``.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name, method in table["methods"].items():
        shared = {"recipe": table["recipe"], "method": name, "label": method["label"]}
        shared["seeds"] = " ".join(map(str, method["seeds"]))
        writer.writerows({**shared, **row} for row in _rows(method))
    return file.getvalue()


def _rows(method: Values) -> Iterator[dict[str, Any]]:
    for tag, row in method["languages"].items():
        yield {"language": tag, **row}
    tests = (method["versus"] or {"averages": {}})["averages"]
    for group, row in method["averages"].items():
        test: Mapping[str, Any] = tests.get(group, {})
        moved = {_RENAMED.get(key, key): value for key, value in test.items()}
        yield {"language": f"average: {group}", **row, **moved}
    for name, _, _ in _COSTS:
        yield {"language": f"cost: {name}", "value": method["cost"][name]}


def to_markdown(table: Values) -> str:
    """Write the paper's table, the averages with their intervals and tests, and the costs.

    Args:
        table: From :func:`layalign.comparison.table.make_table`.
    """
    lines = [f"# {title(table)}", ""]
    for heading, header, rows in _parts(table):
        lines += [f"## {heading}", "", *_markdown(header, rows), ""]
    lines += [_note(table), "", "```text", *table["commands"], "```", ""]
    return "\n".join(lines)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"| --- |{' ---: |' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def print_table(console: Console, table: Values) -> None:
    """Print what :func:`to_markdown` writes, languages as rows where columns would not fit."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    for heading, header, rows in _parts(table):
        if len(header) > 9:
            header, *rows = ([*column] for column in zip(header, *rows, strict=True))
        console.print(f"{title(table)}: {heading}", style="italic", highlight=False, markup=False)
        shown = Table(box=SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(header):
            side: Literal["left", "right"] = "right" if number else "left"
            shown.add_column(column, justify=side, no_wrap=not number, overflow="fold")
        for row in rows:
            shown.add_row(*(cell.replace("] ", "]\n") for cell in row))
        console.print(shown)
    console.print(_note(table), style="dim", highlight=False, markup=False)


def title(table: Values) -> str:
    """Say what is compared at what budget."""
    equal = table["equal"]
    return f"{table['recipe']}, {equal['budget']:g} {_UNIT_OF[equal['kind']]} each"


def _parts(table: Values) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield a heading, a header and rows for each part of the table."""
    methods, groups = table["methods"].values(), list(table["groups"])
    header = ["Method", *table["languages"], *(f"avg {_words(group)}" for group in groups)]
    rows = [
        [
            m["label"],
            *(
                f"{row['value']:.1f}"
                for part in ("languages", "averages")
                for row in m[part].values()
            ),
        ]
        for m in methods
    ]
    yield "accuracy, %", header, rows
    header = ["Method", *map(_words, groups)]
    yield (
        "averages with 95 % intervals, %",
        header,
        [[m["label"], *map(_interval, m["averages"].values())] for m in methods],
    )
    tested = [m for m in methods if m["versus"]]
    if tested:
        reference = table["methods"][table["reference"]]["label"]
        yield (
            f"points over {reference}",
            header,
            [[m["label"], *map(_difference, m["versus"]["averages"].values())] for m in tested],
        )
    yield "cost", *_costs(methods)


def _costs(methods: Collection[Values]) -> tuple[list[str], list[list[str]]]:
    """Header and rows; what is known of no method is left out."""
    known = [cost for cost in _COSTS if any(m["cost"][cost[0]] is not None for m in methods)]
    rows = [
        [m["label"], *(_amount(m["cost"][name], form) for name, _, form in known)] for m in methods
    ]
    return ["Method", *(title for _, title, _ in known)], rows


def _amount(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _interval(row: Values) -> str:
    return f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _difference(test: Values) -> str:
    return f"{test['value']:+.1f} [{test['low']:+.0f}, {test['high']:+.0f}] {test['verdict']}"


def _words(group: str) -> str:
    return group.replace("_", " ")


def _note(table: Values) -> str:
    seeds = table["seeds"]
    drawn = "questions and seeds" if len(seeds) > 1 else "questions"
    parts = [
        f"Seeds {_numbers(seeds)}. []: 95 % interval over {drawn}. better, worse: the paired "
        "bootstrap and McNemar's test both find a difference after Holm's correction; within "
        "noise: they do not."
    ]
    parts += few_seeds(seeds)
    parts += [f"Not finished: {name}, seed {_numbers(s)}." for name, s in table["missing"].items()]
    return " ".join(parts)


def few_seeds(seeds: Sequence[int]) -> list[str]:
    """A sentence on how far the verdicts of so few seeds reach; none where there are enough."""
    if len(seeds) >= _FEW_SEEDS:
        return []
    return [
        "So few seeds say little about others: read better, worse and within noise as being about "
        "these."
    ]


def _numbers(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
