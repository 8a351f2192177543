import pickle
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import layalign.data.tables
from layalign.data import Example, ExampleTable, Mixing, hold, mix
from layalign.data.tables import indices_by_language
from layalign.errors import DataError

pytest.importorskip("datasets", reason="needs the data extra")

TEXTS = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=30)
EXAMPLES = st.lists(
    st.builds(
        Example,
        text=TEXTS,
        language=st.sampled_from(["sw", "th", "zh-Hant"]),
        target=st.none() | TEXTS,
        id=st.none() | st.text("0123456789", min_size=1),
    ),
    min_size=1,
    max_size=20,
)


def examples(count: int = 1200, language: str = "sw") -> list[Example]:
    """More than are written at a time."""
    return [
        Example(text=f"maembe {i}", language=language, target=f"{i} mangoes", id=str(i))
        for i in range(count)
    ]


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layalign.data.tables, "MEMORY", 0)


@settings(max_examples=25, deadline=None)
@given(EXAMPLES, st.data())
def test_a_table_is_a_sequence_of_the_same_examples(
    tmp_path_factory: pytest.TempPathFactory, data: list[Example], draw: st.DataObject
) -> None:
    table = ExampleTable.write(data, tmp_path_factory.mktemp("table") / "a.arrow")
    assert list(table) == [table[i] for i in range(len(table))] == data
    assert table[-1] == data[-1]
    with pytest.raises(IndexError):
        table[len(data)]
    part = slice(draw.draw(st.integers(-20, 20)), draw.draw(st.none() | st.integers(-20, 20)))
    assert list(table[part]) == data[part]
    indices = draw.draw(st.lists(st.integers(0, len(data) - 1)))
    chosen = table.select(array("q", indices))
    assert list(chosen) == [data[i] for i in indices]
    again = draw.draw(st.lists(st.integers(0, len(indices) - 1))) if indices else []
    assert list(chosen.select(array("q", again))) == [data[indices[i]] for i in again]


def test_few_are_a_list_and_many_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = examples()
    assert hold(iter(data), tmp_path / "deep" / "a.arrow") == data
    assert hold([], tmp_path / "deep" / "a.arrow") == []
    assert not (tmp_path / "deep").exists()
    monkeypatch.setattr(layalign.data.tables, "MEMORY", 500_000)
    assert isinstance(hold(examples(400), tmp_path / "deep" / "a.arrow"), list)
    table = hold(iter(data), tmp_path / "deep" / "a.arrow")
    assert isinstance(table, ExampleTable)
    assert list(table) == data


def test_long_texts_are_many(tmp_path: Path) -> None:
    long = Example(text="a" * 2**20, language="sw", target="b" * 2**20)
    assert isinstance(hold([long] * 30, tmp_path / "a.arrow"), list)
    assert isinstance(hold([long] * 40, tmp_path / "a.arrow"), ExampleTable)


@pytest.mark.usefixtures("on_disk")
def test_without_datasets_all_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    data = examples()
    assert hold(iter(data), tmp_path / "a.arrow") == data
    assert "pip install 'layalign[data]'" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("on_disk")
def test_nothing_is_left_of_data_that_cannot_be_read(tmp_path: Path) -> None:
    def broken() -> Iterator[Example]:
        yield from examples()
        raise DataError("line 1201 is bad")

    with pytest.raises(DataError, match="line 1201 is bad"):
        hold(broken(), tmp_path / "a.arrow")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("on_disk")
def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*a\.arrow \(.+\); choose a folder"):
        hold(examples(), tmp_path / "file" / "a.arrow")


@pytest.mark.parametrize(("temperature", "total"), [(1.0, None), (3.0, None), (2.0, 3000)])
def test_a_mixture_is_the_same_on_disk(
    tmp_path: Path, temperature: float, total: int | None
) -> None:
    data = list(chain(examples(700), examples(30, "th"), examples(20)))
    table = ExampleTable.write(data, tmp_path / "a.arrow")
    mixing = Mixing(temperature=temperature, total=total, seed=3)
    mixed = mix(table, mixing)
    assert isinstance(mixed, ExampleTable)
    assert list(mixed) == mix(data, mixing)
    assert indices_by_language(table) == indices_by_language(data)


def tokenised(
    table: ExampleTable, *, key: str = "a", calls: list[int] | None = None
) -> Sequence[dict[str, list[Any]]]:
    def encode(index: int, example: Example) -> dict[str, list[Any]]:
        if calls is not None:
            calls.append(index)
        return {"ids": [index, *example.text.encode()], "cut": [] if index else ["text"]}

    return table.tokenised(encode, {"ids": "int32", "cut": "string"}, key=key)


def test_ids_are_made_once(tmp_path: Path) -> None:
    data = examples()
    table = ExampleTable.write(data, tmp_path / "a.arrow")
    calls: list[int] = []
    first = tokenised(table, calls=calls)
    assert calls == list(range(len(data)))
    assert first[0] == {"ids": [0, *data[0].text.encode()], "cut": ["text"]}
    assert first[1100] == {"ids": [1100, *data[1100].text.encode()], "cut": []}
    later = ExampleTable.write(iter(data), tmp_path / "a.arrow")  # as another session reads them
    assert tokenised(later, calls=calls)[1100] == first[1100]
    assert len(calls) == len(data)


@pytest.mark.parametrize("change", ["key", "text", "id", "order", "choice"])
def test_ids_of_something_else_are_made_anew(tmp_path: Path, change: str) -> None:
    data = examples(3)
    tokenised(ExampleTable.write(data, tmp_path / "a.arrow"))
    if change == "text":
        data[1] = Example(text="maembe", language="sw", target="1 mangoes", id="1")
    elif change == "id":
        data[1] = Example(text="maembe 1", language="sw", target="1 mangoes")
    elif change == "order":
        data.reverse()
    table = ExampleTable.write(data, tmp_path / "a.arrow")
    if change == "choice":
        table = table.select(array("q", [0, 2, 1]))
    calls: list[int] = []
    tokenised(table, key="b" if change == "key" else "a", calls=calls)
    assert calls == [0, 1, 2]


def test_parts_that_are_whole_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layalign.data.tables._PART", 500)
    table = ExampleTable.write(examples(), tmp_path / "a.arrow")
    expected = list(tokenised(table))
    (damaged,) = tmp_path.glob("tokens-*-500.arrow")
    damaged.unlink()
    calls: list[int] = []
    assert list(tokenised(table, calls=calls)) == expected
    assert calls == list(range(500, 1000))


def test_another_process_finds_the_file_of_a_table(tmp_path: Path) -> None:
    told: list[int] = []
    data = examples(20)
    table = ExampleTable.write(data, tmp_path / "a.arrow", lambda done, _: told.append(done))
    for part, expected in ((table, data), (table.select(array("q", [3, 0, 7])), data[3:4])):
        sent = pickle.loads(pickle.dumps(part))
        assert list(sent)[: len(expected)] == expected
        assert (sent.digest, sent.folder) == (part.digest, part.folder)
        tokenised(sent)
    assert not told


def test_unfinished_ids_are_not_found_again(tmp_path: Path) -> None:
    table = ExampleTable.write(examples(), tmp_path / "a.arrow")

    def killed(index: int, example: Example) -> dict[str, list[Any]]:
        if index == 1100:
            raise KeyboardInterrupt
        return {"ids": [0], "cut": []}

    with pytest.raises(KeyboardInterrupt):
        table.tokenised(killed, {"ids": "int32", "cut": "string"}, key="a")
    calls: list[int] = []
    assert len(tokenised(table, calls=calls)) == len(calls) == 1200
