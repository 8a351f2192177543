import gzip
import json
from pathlib import Path

import pytest

from layalign.data import load_word_problems, word_problems
from layalign.errors import ConfigError, DataError


@pytest.fixture
def _own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small set in the place of the shipped one."""
    rows = [
        {
            "id": f"test-{i}",
            "template": "t",
            "split": "test",
            "answer": str(i),
            "reasoning": f"{i} + 0 = {i}. The answer is {i}.",
            "questions": {"en": f"How many, {i}?", "sw": f"Ngapi, {i}?"},
        }
        for i in (2, 0, 1)
    ]
    folder = tmp_path / "word_problems"
    folder.mkdir()
    text = "\n".join(map(json.dumps, rows))
    (folder / "test.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(word_problems.resources, "files", lambda _: tmp_path)


@pytest.mark.usefixtures("_own_rows")
def test_parallel_and_in_order_of_ids() -> None:
    examples = load_word_problems("test", limit=2)
    assert [(e.language, e.id) for e in examples] == [
        ("en", "test-0"),
        ("en", "test-1"),
        ("sw", "test-0"),
        ("sw", "test-1"),
    ]
    assert examples[2].text == "Ngapi, 0?"
    assert examples[2].answer == "0"
    assert examples[2].target is None


@pytest.mark.usefixtures("_own_rows")
def test_targets() -> None:
    (reasoning,) = load_word_problems("test", languages=["swh"], target="reasoning", limit=1)
    (english,) = load_word_problems("test", languages=["sw"], target="english", limit=1)
    assert reasoning.target == "0 + 0 = 0. The answer is 0."
    assert english.target == "How many, 0?"


@pytest.mark.usefixtures("_own_rows")
def test_language_that_the_set_lacks() -> None:
    with pytest.raises(DataError, match="not available in th; they are in en, sw"):
        load_word_problems("test", languages=["th", "sw"])


def test_unknown_settings() -> None:
    with pytest.raises(ConfigError, match="unknown split 'valid'"):
        load_word_problems("valid")
    with pytest.raises(ConfigError, match="unknown target 'swahili'"):
        load_word_problems("dev", target="swahili")  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_shipped_set(split: str) -> None:
    english = load_word_problems(split, languages=["en"], target="reasoning")
    ids = {e.id for e in english}
    assert len(ids) == len(english) >= 60
    assert all((e.target or "").endswith(f"The answer is {e.answer}.") for e in english)
    everything = load_word_problems(split)
    for tag in {e.language for e in everything}:
        assert {e.id for e in everything if e.language == tag} == ids
