"""Sentences and their translations from all that users may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from layalign.analysis.sentences import load_bitexts, sentence_source
from layalign.errors import ConfigError, DataError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def test_aligned_files(aligned: Path) -> None:
    found = load_bitexts(sentence_source(path=str(aligned), limit=2, languages=("th", "sw")))
    assert [bitext.language for bitext in found] == ["th", "sw"]
    lines = {file.stem: file.read_text("utf-8").splitlines() for file in aligned.iterdir()}
    assert found[1].texts == lines["swa"][:2]
    assert found[0].english == found[1].english == lines["eng"][:2]


def test_folder_of_bitext(tmp_path: Path) -> None:
    (tmp_path / "swh.tsv").write_text("nne\tfour\ntatu\tthree\n", encoding="utf-8")
    (found,) = load_bitexts(sentence_source(path=str(tmp_path)))
    assert (found.language, found.texts, found.english) == (
        "sw",
        ["nne", "tatu"],
        ["four", "three"],
    )


def test_any_file(tmp_path: Path) -> None:
    file = tmp_path / "own.tsv"
    file.write_text("nne\tfour\n", encoding="utf-8")
    (found,) = load_bitexts(sentence_source(path=str(file), language="sw", format=None))
    assert found.english == ["four"]


def test_the_shipped_word_problems_are_parallel() -> None:
    found = load_bitexts(sentence_source(limit=3))
    assert len(found) == 16
    assert all(bitext.english == found[0].english for bitext in found)
    named = load_bitexts(sentence_source(name="word_problems", split="dev", limit=3))
    assert named[0].english != found[0].english


def test_what_cannot_be_read(aligned: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder with sentences"):
        sentence_source(path=str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="cannot tell the format"):
        sentence_source(path=str(tmp_path))
    with pytest.raises(DataError, match="unknown language 'klingon'"):
        sentence_source(path=str(aligned), languages=("klingon",))
    with pytest.raises(DataError, match="no sentences in de; found sw"):
        load_bitexts(sentence_source(path=str(aligned), languages=("sw", "de")))
    with pytest.raises(DataError, match="only English sentences"):
        load_bitexts(sentence_source(languages=("en",)))
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"text": "nne", "language": "sw"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="'nne' in sw has no English translation"):
        load_bitexts(sentence_source(path=str(file)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the project")
@pytest.mark.parametrize("name", ["ntrex", "tatoeba"])
def test_published_sets(name: str) -> None:
    found = load_bitexts(
        sentence_source(path=str(SHARED / name), limit=5, languages=("sw", "th", "de"))
    )
    assert [len(bitext.texts) for bitext in found] == [5, 5, 5]
    assert (found[0].english == found[1].english) == (name == "ntrex")
