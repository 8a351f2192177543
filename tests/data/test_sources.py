import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from layalign.data import DataSource, load_examples
from layalign.errors import ConfigError, DataError


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    rows = [{"text": f"{tag} {i}", "language": tag} for i in range(3) for tag in ("sw", "th", "de")]
    file = tmp_path / "tasks.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return str(file)


def test_filter_and_limit(tasks: str) -> None:
    source = DataSource(path=tasks, languages=("tha", "sw"), limit=2)
    assert source.format == "jsonl"
    assert [e.text for e in load_examples(source)] == ["sw 0", "th 0", "sw 1", "th 1"]


def test_no_rows_left(tasks: str) -> None:
    with pytest.raises(DataError, match=r"tasks\.jsonl\.gz: no examples in fr"):
        load_examples(DataSource(path=tasks, languages=("fr",)))


def test_bitext(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("Hello\tHabari\n", encoding="utf-8")
    source = DataSource(path=str(file), format="bitext", language="sw", columns=(1, 0))
    assert load_examples(source)[0].text == "Habari"


def test_language_tags_are_normalised() -> None:
    source = DataSource(path="a.tsv", language="swh", languages=("tha",))
    assert (source.language, source.languages) == ("sw", ("th",))


@pytest.mark.parametrize(
    ("path", "format"),
    [("a.jsonl", "jsonl"), ("a.json.gz", "jsonl"), ("a.csv", "csv"), ("a.parquet", "parquet")],
)
def test_format_from_the_ending(path: str, format: str) -> None:
    assert DataSource(path=path).format == format


def test_named_set() -> None:
    source = DataSource(name="word_problems", split="dev", languages=("en",), limit=2)
    assert len(load_examples(source)) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either name or path"),
        ({"name": "word_problems", "path": "a.tsv"}, "either name or path"),
        ({"name": "words", "split": "dev"}, "unknown data set 'words'"),
        ({"name": "word_problems"}, "needs a split"),
        ({"name": "word_problems", "split": "dev", "format": "jsonl"}, "format does not apply"),
        ({"path": "a.tsv"}, "needs language"),
        ({"path": "a.txt"}, "cannot tell the format; set format"),
        ({"path": "a.txt", "format": "xml"}, "cannot tell the format 'xml'"),
        ({"path": "a.jsonl", "split": "dev"}, "split does not apply to a file"),
        ({"path": "a.jsonl", "columns": (0, 1)}, "columns must be a mapping for jsonl"),
        ({"path": "a.tsv", "language": "sw", "columns": {}}, "two numbers for bitext"),
        ({"path": "a.jsonl", "limit": 0}, "limit must be at least 1"),
        ({"path": "a.jsonl", "hub": "x/y"}, "either name or path or hub"),
        ({"path": "a.jsonl", "subset": "sw"}, "subset does not apply to a file"),
        ({"path": "a.xml", "format": "mgsm"}, "mgsm is read from files that end in .jsonl, .json"),
        ({"path": "a.jsonl", "format": "xnli", "columns": {}}, "whose columns are known"),
        ({"path": "a.csv", "columns": (0, 1)}, "columns must be a mapping for jsonl, csv"),
        ({"path": "a.txt", "format": "bitext_files", "language": "sw"}, "target_path, the English"),
        ({"path": "a.tsv", "language": "sw", "target_path": "b"}, "the format is 'bitext'"),
        ({"path": "folder"}, "cannot tell the format"),
        ({"path": "folder", "format": "mgsm", "language": "sw"}, "language does not apply to a fo"),
        ({"hub": "x/y"}, "hub set 'x/y' needs a split"),
        ({"hub": "x/y", "split": "test", "format": "csv"}, "'csv' is no format of a hub set"),
        ({"hub": "x/y", "split": "test", "format": "mgms"}, "'mgms' is no format of a hub set"),
        ({"hub": "x/y", "split": "test", "target": "english"}, "target does not apply to a hub"),
        ({"hub": "x/y", "split": "test", "columns": (0, 1)}, "columns must be a mapping"),
        ({"name": "word_problems", "split": "dev", "codes": {}}, "codes does not apply"),
        ({"path": "a.jsonl", "template": "{premise}"}, "unknown name 'premise'"),
        ({"path": "a.jsonl", "template": "{text"}, "is not valid"),
    ],
)
def test_contradictions(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        DataSource(**fields)
    assert message in str(error.value)
