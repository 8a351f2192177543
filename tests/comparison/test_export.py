from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from rich.console import Console

from layalign.comparison.export import print_table, to_csv, to_markdown

TAGS = ("en", "sw", "th")


def method(label: str, versus: dict[str, Any] | None, **cost: float | None) -> dict[str, Any]:
    row = {"value": 40.0, "low": 35.0, "high": 45.25}
    costs = ("trained_parameters", "training_seconds", "translation_seconds", "tokens_per_second")
    return {
        "label": label,
        "seeds": [1, 2],
        "languages": dict.fromkeys(TAGS, row),
        "averages": {"all": row, "never_trained": row},
        "versus": versus,
        "cost": {**dict.fromkeys((*costs, "relative_speed", "peak_memory_gib")), **cost},
    }


def make_table(**changes: Any) -> dict[str, Any]:
    test = {"value": -7.5, "low": -12.0, "high": -3.0, "p_bootstrap": 0.001, "p_mcnemar": 0.004}
    test |= {"p": 0.004, "p_corrected": 0.008, "verdict": "worse"}
    versus = {"reference": "layalign", "averages": {"all": test, "never_trained": test}}
    return {
        "recipe": "small",
        "equal": {"kind": "flops", "budget": 2e15},
        "commands": ["layalign compare small.yaml"],
        "reference": "layalign",
        "seeds": [1, 2],
        "missing": {},
        "languages": {tag: {"name": tag, "trained": True, "items": 5} for tag in TAGS},
        "groups": {"all": list(TAGS), "never_trained": ["th"]},
        "methods": {
            "base": method("Bare LLM", versus, trained_parameters=134_515_008),
            "layalign": method("LayAlign", None, translation_seconds=12.3),
        },
        **changes,
    }


def test_csv_holds_all_figures() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(make_table()))))
    found = {(row["method"], row["language"]): row for row in rows}
    assert len(found) == len(rows) == 2 * (3 + 2 + 6)
    assert found["base", "sw"]["high"] == "45.25"
    assert found["base", "cost: trained_parameters"]["value"] == "134515008"
    average = found["base", "average: all"]
    assert (average["value"], average["difference"], average["verdict"]) == (
        "40.0",
        "-7.5",
        "worse",
    )
    assert found["layalign", "average: all"]["difference"] == ""


def test_markdown_is_the_papers_table_in_words() -> None:
    text = to_markdown(make_table())
    assert text.startswith("# small, 2e+15 FLOPs each\n")
    assert "| Method | en | sw | th | avg all | avg never trained |" in text
    assert "| Bare LLM | -7.5 [-12, -3] worse |" in text
    assert "| Method | Trained parameters | Translated, s |" in text
    assert "| Bare LLM | 134,515,008 |  |" in text
    assert "| LayAlign |  | 12 |" in text
    assert "over questions and seeds" in text
    assert "Not finished" not in text
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_what_is_missing_and_few_seeds_are_named() -> None:
    text = to_markdown(make_table(seeds=[3], missing={"qalign": [3]}))
    assert "over questions." in text
    assert "Not finished: qalign, seed 3." in text
    assert "read better, worse and within noise as being about these" in text
    assert "about these" not in to_markdown(make_table(seeds=list(range(5))))


@pytest.mark.parametrize("n_methods", [1, 2])
def test_a_terminal_shows_every_method(n_methods: int) -> None:
    table = make_table()
    if n_methods == 1:
        del table["methods"]["base"]
    console = Console(width=100, record=True, file=io.StringIO())
    print_table(console, table)
    shown = console.export_text()
    assert ("points over LayAlign" in shown) == (n_methods == 2)
    for found in table["methods"].values():
        assert found["label"] in shown


def test_a_narrow_terminal_cuts_no_figure() -> None:
    console = Console(width=60, record=True, file=io.StringIO())
    print_table(console, make_table())
    assert "…" not in console.export_text()


def test_many_languages_are_rows() -> None:
    tags = [f"l{number}" for number in range(20)]
    table = make_table()
    for found in table["methods"].values():
        found["languages"] = dict.fromkeys(tags, found["languages"]["en"])
    table["languages"] = dict.fromkeys(tags, table["languages"]["en"])
    console = Console(width=100, record=True, file=io.StringIO())
    print_table(console, table)
    lines = console.export_text().splitlines()
    assert all(any(line.split()[:1] == [tag] for line in lines) for tag in tags)
