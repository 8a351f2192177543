import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layalign.errors import DataError
from layalign.eval import Prediction
from layalign.eval.journal import Journal, read_predictions


def prediction(output: str) -> Prediction:
    return Prediction(
        id="7",
        language="th",
        text="คำถาม",
        answer="12",
        output=output,
        parsed=None,
        correct=False,
        seconds=0.1,
        new_tokens=2,
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, 5) as journal:
        journal.add(3, prediction("สวัสดี\n\u2028 {"))
        line = path.read_text(encoding="utf-8")  # flushed at once
        journal.add(0, prediction(""))
        done = journal.done
    assert json.loads(line)["index"] == 3
    with Journal(path, 5) as journal:
        assert journal.done == done
        journal.add(1, prediction("x"))
    with Journal(path, 5) as journal:
        assert list(journal.done) == [3, 0, 1]


def test_a_finished_file_is_read_in_the_order_of_the_examples(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, 3) as journal:
        for i in (2, 0, 1):
            journal.add(i, prediction(f"{i}\r\u2028"))
    assert [row.output[0] for row in read_predictions(path)] == ["0", "1", "2"]
    path.write_text('{"index": 0}\n')
    with pytest.raises(DataError, match="line 1: is not a prediction"):
        read_predictions(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path / "missing.jsonl")


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 10**4))
def test_a_torn_last_line_is_dropped(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "a.jsonl"
    with Journal(path, 3) as journal:
        for i in range(3):
            journal.add(i, prediction("ก" * i))
    content = path.read_bytes()
    cut = min(cut, len(content))
    path.write_bytes(content[:-cut])
    whole = content[:-cut].count(b"\n")
    with Journal(path, 3) as journal:
        assert list(journal.done) == list(range(whole))
        for i in range(whole, 3):
            journal.add(i, prediction("ก" * i))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "line 1: is not a prediction"),
        ("[1]", "line 1: is not a prediction"),
        ("\x00\x00", "line 1: is not a prediction"),
    ],
)
def test_another_file(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        Journal(path, 5)


def test_positions_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, 5) as journal:
        journal.add(4, prediction("x"))
    with pytest.raises(DataError, match="example 4, but there are 3"):
        Journal(path, 3)
    with pytest.raises(DataError, match="cannot be used"):
        Journal(tmp_path, 3)


@pytest.mark.skipif(os.name != "posix", reason="files are locked on POSIX alone")
def test_two_evaluations_do_not_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    with Journal(path, 3), pytest.raises(DataError, match="another evaluation writes to it"):
        Journal(path, 3)
    with Journal(path, 3):
        pass
