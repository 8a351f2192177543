"""A file of questions becomes a file of answers, in one go or after an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from layalign.errors import ConfigError, DataError
from layalign.generation import generate, generate_file
from layalign.generation.files import Columns

ROWS: list[dict[str, Any]] = [
    {"text": "ana mayai tatu", "language": "sw", "answer": "3", "weight": 0.5},
    {"text": "vitabu nne", "language": "sw", "more": [1, {"a": None}]},
    {"text": "how many apples", "language": "en"},
    {"text": " 2 + 3 "},
]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_keep_their_order_and_their_columns(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source, target = write_rows(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    assert generate_file(tiny_checkpoint, source, target, max_new_tokens=4, base=True) == 4
    texts = [row["text"].strip() for row in ROWS]
    expected = generate(tiny_checkpoint, texts, max_new_tokens=4, base=True)
    assert read_rows(target) == [
        {**row, "output": one["answer"], "bare_output": one["bare"]}
        for row, one in zip(ROWS, expected, strict=True)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_own_columns_and_other_kinds_of_files(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("question,lang\nvitabu nne,sw\n2 + 3,\n", "utf-8")
    columns = Columns(text="question", language="lang", output="said")
    target = tmp_path / "out.jsonl"
    generate_file(tiny_checkpoint, tmp_path / "in.csv", target, columns=columns, max_new_tokens=2)
    rows = read_rows(target)
    assert [(row["question"], row["lang"]) for row in rows] == [
        ("vitabu nne", "sw"),
        ("2 + 3", None),
    ]
    assert all(isinstance(row["said"], str) for row in rows)


def test_a_killed_job_goes_on_where_it_was(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", ROWS)
    options: dict[str, Any] = {"max_new_tokens": 4, "batch_size": 1}
    generate_file(tiny_checkpoint, source, tmp_path / "whole.jsonl", **options)
    target = tmp_path / "out.jsonl"

    class KilledError(Exception):
        pass

    def die(done: int, total: int, label: str = "") -> None:
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        generate_file(tiny_checkpoint, source, target, progress=die, **options)
    assert not target.exists()
    (journal,) = (tmp_path / "out.jsonl.part").glob("answers.*.jsonl")
    assert len(journal.read_bytes().splitlines()) == 2
    with journal.open("ab") as file:
        file.write(b'{"index": 0, "te')  # torn by the kill
    seen: list[int] = []
    with pytest.raises(ConfigError, match=r"other settings.*max_new_tokens"):
        generate_file(tiny_checkpoint, source, target, max_new_tokens=5)
    generate_file(
        tiny_checkpoint,
        source,
        target,
        progress=lambda done, total, label="": seen.append(done),
        **options,
    )
    assert seen == [2, 3, 4]
    assert target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not (tmp_path / "out.jsonl.part").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "nne"}, r"line 2: no column 'text'; the columns are 'question'.*text-column"),
        ({"text": "nne", "output": "4"}, r"line 2: there is a column 'output' already"),
        ({"text": "nne", "bare_output": "4"}, r"line 2: there is a column 'bare_output' already"),
        ({"text": "  "}, r"line 2: text is empty"),
        ({"text": ["nne"]}, r"line 2: text is empty"),
        ({"text": "nne", "language": "?"}, r"line 2: .*language"),
    ],
)
def test_wrong_rows(
    tiny_checkpoint: Path, tmp_path: Path, row: Mapping[str, Any], message: str
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"text": "nne"}, dict(row)])
    with pytest.raises(DataError, match=message):
        generate_file(tiny_checkpoint, source, tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_output_is_never_written_over(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(ConfigError, match="is there already"):
        generate_file(tiny_checkpoint, source, source)
