import json
import logging
from pathlib import Path
from typing import Any

import pytest

from layalign.data import DataSource, LeakGuard
from layalign.errors import DataError


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def leaks(train: DataSource, test: DataSource) -> int:
    guard = LeakGuard()
    assert list(guard.test(test))
    assert list(guard.training(train))
    return len(guard.leaks)


def math(path: Path, **fields: Any) -> DataSource:
    settings = {"format": "mgsm", **fields}
    return DataSource(path=str(path), **settings)


def test_texts_are_compared_without_templates(tmp_path: Path) -> None:
    row = {"question": "Ana 3, na 4?", "answer": 7}
    test = write(tmp_path / "a" / "x.jsonl", {"id": 1, **row})
    train = write(tmp_path / "b" / "y.jsonl", {"id": 9, **row, "question": "ana 3 na 4"})
    other = write(tmp_path / "c" / "y.jsonl", {"id": 1, **row, "question": "Ana 3, na 5?"})
    tested = math(test, language="sw")
    assert leaks(math(train, language="ha", template="Q: {text}"), tested) == 1
    assert leaks(math(other, language="sw"), tested) == 0


def test_targets_of_pairs_are_compared(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", {"text": "How many?", "answer": "3"})
    (tmp_path / "train.tsv").write_text("Ngapi?\tHow many\n", encoding="utf-8")
    train = DataSource(path=str(tmp_path / "train.tsv"), language="sw")
    assert leaks(train, DataSource(path=str(test), language="en")) == 1


@pytest.mark.parametrize(
    ("train", "test", "leaked"),
    [
        ("sw.jsonl", "th.jsonl", True),
        ("mgsm_sw.jsonl", "th.jsonl", True),
        ("sw/test.jsonl", "test.th.jsonl", True),
        ("sw/train.jsonl", "th/test.jsonl", False),
        ("train.jsonl", "test.jsonl", False),
        ("a/sw.jsonl", "b/th.jsonl", False),
    ],
)
def test_ids_count_within_a_set(tmp_path: Path, train: str, test: str, leaked: bool) -> None:
    one = write(tmp_path / train, {"id": 1, "question": "Moja?", "answer": 1})
    two = write(tmp_path / test, {"id": 1, "question": "หนึ่ง", "answer": 1})
    assert leaks(math(one, language="sw"), math(two, language="th")) == leaked


def test_a_folder_and_its_file_are_one_set(tmp_path: Path) -> None:
    write(tmp_path / "sw" / "test.jsonl", {"id": 1, "question": "Moja?", "answer": 1})
    file = write(tmp_path / "th" / "test.jsonl", {"id": 1, "question": "หนึ่ง", "answer": 1})
    folder = math(tmp_path, split="test", languages=("sw",))
    assert leaks(math(file, language="th"), folder) == 1


def test_one_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"id": i, "question": f"Ngapi {i}?", "answer": i} for i in range(5)]
    source = math(write(tmp_path / "sw.jsonl", *rows), language="sw")
    guard = LeakGuard()
    list(guard.test(source))
    guard.settle("refuse")
    list(guard.training(source))
    with pytest.raises(DataError, match=r"^5 of 5 test .* line 3 is .* line 3; …\. Take") as caught:
        guard.settle("refuse")
    assert "\n" not in str(caught.value)
    assert "line 4" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        guard.settle("warn")
    assert "5 of 5 test questions" in caplog.text
