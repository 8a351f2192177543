"""Sets of the Hub, with local folders that ``datasets`` loads in the place of ids."""

import json
from pathlib import Path
from typing import Any

import pytest

from layalign.data import DataSource, Example, iter_examples, load_examples
from layalign.data.hub import parquet_rows
from layalign.errors import DataError

datasets = pytest.importorskip("datasets", reason="needs the data extra")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def hub_set(folder: Path, rows: list[dict[str, Any]]) -> str:
    """A data set of one split, "test", as a folder."""
    folder.mkdir()
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "test.jsonl").write_text(text, encoding="utf-8")
    return str(folder)


def test_a_corpus(tmp_path: Path) -> None:
    rows = [{"question": f"Ngapi, {i}?", "answer": None, "answer_number": i} for i in range(3)]
    source = DataSource(
        hub=hub_set(tmp_path / "mgsm", rows), split="test", format="mgsm", language="swh", limit=2
    )
    assert load_examples(source) == [
        Example(text=f"Ngapi, {i}?", language="sw", answer=str(i), id=str(i)) for i in range(2)
    ]


def test_own_columns_and_codes(tmp_path: Path) -> None:
    rows = [
        {"lang": "sw_KE", "pair": {"en": "Hello", "other": "Habari"}},
        {"lang": "th_TH", "pair": {"en": "Hello", "other": "สวัสดี"}},
    ]
    source = DataSource(
        hub=hub_set(tmp_path / "pairs", rows),
        split="test",
        columns={"text": "pair.other", "target": "pair.en", "language": "lang"},
        codes={"sw_KE": "sw", "th_TH": "th"},
        languages=("th",),
    )
    assert load_examples(source) == [Example(text="สวัสดี", language="th", target="Hello")]


def test_errors_name_set_and_row(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": 1}, {"question": "b", "answer": None}]
    hub = hub_set(tmp_path / "mgsm", rows)
    source = DataSource(hub=hub, split="test", format="mgsm", language="sw")
    with pytest.raises(DataError, match="mgsm, row 2: 'answer' is empty"):
        load_examples(source)


def test_duplicate_ids(tmp_path: Path) -> None:
    hub = hub_set(tmp_path / "mgsm", [{"id": 7, "question": "a", "answer": 1}] * 2)
    source = DataSource(hub=hub, split="test", format="mgsm", language="sw")
    with pytest.raises(DataError, match=r"mgsm, row 2: id '7' .* already at .*mgsm, row 1"):
        load_examples(source)


@pytest.mark.parametrize(
    "settings", [{"split": "dev"}, {"split": "test", "subset": "sw"}, {"split": "test[:x]"}]
)
def test_what_is_not_there(tmp_path: Path, settings: dict[str, str]) -> None:
    hub = hub_set(tmp_path / "mgsm", [{"question": "a", "answer": 1}])
    with pytest.raises(DataError) as error:
        load_examples(DataSource(hub=hub, format="mgsm", language="sw", **settings))
    assert f"data set {hub!r} cannot be read after row 0: " in str(error.value)
    assert f"split ({settings['split']!r})" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_set(tmp_path: Path) -> None:
    hub = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere' cannot be read after row 0: .*check hub"):
        load_examples(DataSource(hub=hub, split="test", language="sw"))


def test_a_damaged_set(tmp_path: Path) -> None:
    hub = hub_set(tmp_path / "mgsm", [{"question": "a", "answer": 1}])
    (Path(hub) / "test.jsonl").write_bytes(b"\xff\x00not JSON\n")
    with pytest.raises(DataError, match="cannot be read after row 0"):
        load_examples(DataSource(hub=hub, split="test", format="mgsm", language="sw"))


@pytest.mark.parametrize("place", ["../secret.jsonl", "{}/secret.jsonl", "file://{}/secret.jsonl"])
def test_files_that_are_not_the_sets_own(tmp_path: Path, place: str) -> None:
    hub = hub_set(tmp_path / "mgsm", [{"question": "a", "answer": 1}])
    (tmp_path / "secret.jsonl").write_text('{"text": "secret"}', encoding="utf-8")
    file = place.format(tmp_path)
    description = (
        f"configs:\n- config_name: default\n  data_files:\n  - {{split: test, path: {file}}}"
    )
    (Path(hub) / "README.md").write_text(f"---\n{description}\n---\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"secret.jsonl', which is not among its own files"):
        load_examples(DataSource(hub=hub, split="test", language="sw"))


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path, row_group_size=700)


def test_parquet(tmp_path: Path) -> None:
    file = tmp_path / "sw.parquet"
    count = 2500  # more than is read at once
    columns = {"question": [f"Ngapi, {i}?" for i in range(count)], "answer": [*range(count)]}
    write_parquet(file, columns)
    source = DataSource(path=str(file), format="afrimgsm", language="sw")
    examples = list(iter_examples(source))
    assert [e.id for e in examples] == [str(i) for i in range(count)]
    assert examples[-1].answer == "2499"
    assert next(parquet_rows(file))[0] == f"{file}, row 1"


def test_parquet_numbers_with_gaps_become_whole_again(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    write_parquet(file, {"text": ["a", "b"], "answer": [3.0, None]})
    examples = load_examples(DataSource(path=str(file), language="sw"))
    assert [e.answer for e in examples] == ["3", None]


def test_bad_parquet(tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    write_parquet(good, {"text": ["a", "b"]})
    content = good.read_bytes()
    bad = tmp_path / "bad.parquet"
    for damaged in (b"", b"not parquet", content[:-10], content[:4] + b"\0" * len(content[4:])):
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=r"bad\.parquet: not a readable Parquet file"):
            load_examples(DataSource(path=str(bad), language="sw"))
    with pytest.raises(DataError, match=r"good.parquet, row 1: no column 'question'"):
        load_examples(DataSource(path=str(good), format="mgsm", language="sw"))
    write_parquet(bad, {"text": ["a", "b\0"]})
    with pytest.raises(DataError, match=r"bad.parquet, row 2: text holds .* U\+0000"):
        load_examples(DataSource(path=str(bad), language="sw"))
    write_parquet(bad, {"text": []})
    with pytest.raises(DataError, match=r"bad.parquet: the file has no rows"):
        load_examples(DataSource(path=str(bad), language="sw"))
    with pytest.raises(DataError, match=r"none.parquet: no such file"):
        load_examples(DataSource(path=str(tmp_path / "none.parquet"), language="sw"))
