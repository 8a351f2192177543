import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from layalign.data import Cleaning, DataSource, load_examples, print_survey, survey
from layalign.data.survey import percentile, survey_bar
from layalign.errors import DataError

BAD = [
    "{",
    "[1]",
    '{"id": 3, "question": "", "answer": 1}',
    '{"id": 1, "question": "a", "answer": 1}',
]


def source(tmp_path: Path, lines: list[str], **settings: Any) -> DataSource:
    rows = [json.dumps({"id": i, "question": f"Ngapi {i}?", "answer": i}) for i in (1, 2)]
    (tmp_path / "sw.jsonl").write_text("\n".join([rows[0], *lines, rows[1]]), encoding="utf-8")
    path = str(tmp_path / "sw.jsonl")
    return DataSource(path=path, format="mgsm", language="sw", **settings)


@pytest.mark.parametrize("line", BAD)
def test_bad_rows_are_counted_or_fatal(tmp_path: Path, line: str) -> None:
    found = survey(source(tmp_path, [line]))
    assert found["languages"]["sw"]["kept"] == 2
    assert found["bad_rows"]["count"] == 1
    [error] = found["bad_rows"]["first"]
    assert f"{tmp_path / 'sw.jsonl'}, line 2: " in error
    with pytest.raises(DataError, match="line 2: "):
        survey(source(tmp_path, [line]), strict=True)
    with pytest.raises(DataError, match="line 2: "):
        load_examples(source(tmp_path, [line]))
    assert len(load_examples(source(tmp_path, [line], clean=Cleaning(bad_rows="skip")))) == 2


@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("a.csv", "text,language\nx,sw\ny\nz,sw\n", {}),
        ("a.jsonl", '{"text": "x"}\n{"txt": "y"}\n{"text": "z"}\n', {"language": "sw"}),
        ("a.json", '[{"text": "x"}, 3, {"text": "z"}]', {"language": "sw"}),
        ("a.tsv", "x\tone\ny\nz\ttwo\n", {"language": "sw"}),
        ("a.tsv", "x\t1\ny\nz\t3\n", {"language": "sw", "format": "mgsm"}),
    ],
)
def test_every_reader_goes_on(
    tmp_path: Path, name: str, text: str, settings: dict[str, Any]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    chosen = DataSource(path=str(tmp_path / name), clean=Cleaning(bad_rows="skip"), **settings)
    found = load_examples(chosen)
    assert [example.text for example in found] == ["x", "z"]
    assert survey(chosen)["bad_rows"]["count"] == 1
    if chosen.format == "mgsm":  # rows after a bad one keep their numbers
        assert [example.id for example in found] == ["0", "2"]


def test_training_reads_what_check_showed(tmp_path: Path) -> None:
    rows = ["Habari\tHello", "habari!\tHello.", "Привет\tHi", "Asante\tThanks"]
    (tmp_path / "a.tsv").write_text("\n".join(rows), encoding="utf-8")
    settings: dict[str, Any] = {"path": str(tmp_path / "a.tsv"), "language": "sw"}
    cleaned = DataSource(**settings, clean=Cleaning())
    found = survey(cleaned)
    assert found["languages"] == {
        "sw": {
            "examples": 4,
            "kept": 2,
            "dropped": {"wrong_script": 1, "near_duplicate": 1},
            "text": {"p50": 6, "p95": 6, "max": 6},
            "target": {"p50": 5, "p95": 6, "max": 6},
        }
    }
    assert found["first"]["near_duplicate"] == [f"{tmp_path / 'a.tsv'}, line 2"]
    assert [e.text for e in load_examples(cleaned)] == ["Habari", "Asante"]
    limited = DataSource(**settings, clean=Cleaning(), limit=2)
    assert load_examples(limited) == load_examples(cleaned)
    assert len(load_examples(DataSource(**settings))) == 4
    console = Console(file=io.StringIO(), width=200)
    print_survey(console, found)
    assert "wrong_script 1, near_duplicate 1" in console.file.getvalue()  # type: ignore[attr-defined]


def test_all_dropped(tmp_path: Path) -> None:
    everything = source(tmp_path, [], clean=Cleaning(max_length=1))
    assert survey(everything)["languages"]["sw"]["dropped"] == {"too_long": 2}
    with pytest.raises(DataError, match="clean drops all 2 examples"):
        load_examples(everything)


@given(st.lists(st.integers(0, 9), min_size=1), st.sampled_from([50, 95]))
def test_percentile(values: list[int], percent: int) -> None:
    found = percentile(Counter(values), percent)
    share = [sum(v <= limit for v in values) * 100 / len(values) for limit in (found, found - 1)]
    assert share[0] >= percent > share[1]


def test_progress_counts_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `layalign.data.survey` is the function.
    monkeypatch.setattr(sys.modules["layalign.data.survey"], "_STEP", 1)
    seen: list[int] = []
    bad_and_repeated = ["{", json.dumps({"id": 3, "question": "Ngapi 1?", "answer": 1})]
    survey(source(tmp_path, bad_and_repeated, clean=Cleaning()), progress=seen.append)
    assert seen == [1, 2, 3, 4]


def test_the_bar_shows_on_terminals_alone() -> None:
    for terminal in (True, False):
        console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
        with survey_bar(console, label="data/[sw].tsv") as report:
            report(12000)
        shown = console.file.getvalue()
        assert ("data/[sw].tsv" in shown and "12,000 rows" in shown) == terminal
        assert bool(shown) == terminal
