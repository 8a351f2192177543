import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from layalign.data import DataSource, Example, iter_examples, load_examples
from layalign.data.lines import MAX_SIZE
from layalign.errors import ConfigError, DataError


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def questions(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": i, "question": f"Ngapi, {i}?", "answer": i} for i in numbers]


def test_a_folder_of_languages(tmp_path: Path) -> None:
    write(tmp_path / "sw" / "test.jsonl", *questions(0, 1))
    write(tmp_path / "th" / "test.jsonl", *questions(0, 1))
    settings: dict[str, Any] = {"path": str(tmp_path), "format": "mgsm", "split": "test"}
    examples = load_examples(DataSource(**settings))
    assert [(e.language, e.id) for e in examples] == [
        ("sw", "0"), ("sw", "1"), ("th", "0"), ("th", "1"),
    ]  # fmt: skip
    assert load_examples(DataSource(**settings, languages=("th",), limit=1)) == [examples[2]]


@pytest.mark.parametrize("name", ["sw.jsonl", "sw.csv", "sw.parquet"])
def test_a_folder_of_a_generic_format(tmp_path: Path, name: str) -> None:
    if name.endswith(".jsonl"):
        write(tmp_path / name, {"q": "Ngapi?", "a": "5"})
    elif name.endswith(".csv"):
        (tmp_path / name).write_text("q,a\nNgapi?,5\n", encoding="utf-8")
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs the data extra")
        table = pytest.importorskip("pyarrow").table({"q": ["Ngapi?"], "a": [5]})
        parquet.write_table(table, tmp_path / name)
    format = name.split(".")[1]
    source = DataSource(path=str(tmp_path), format=format, columns={"text": "q", "answer": "a"})
    assert load_examples(source) == [Example(text="Ngapi?", language="sw", answer="5")]


def test_nested_columns(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"translation": {"sw": "Habari", "en": "Hello"}, "a.b": "x"})
    columns = {"text": "translation.sw", "target": "translation.en", "id": "a.b"}
    source = DataSource(path=str(file), columns=columns, language="sw")
    assert load_examples(source) == [Example(text="Habari", language="sw", target="Hello", id="x")]
    source = DataSource(path=str(file), columns={"text": "translation.th"}, language="sw")
    with pytest.raises(DataError, match=r"no column 'translation.th' for text"):
        load_examples(source)


def test_bitext_files(tmp_path: Path) -> None:
    (tmp_path / "swa.txt").write_text("Habari\n\nAsante\n", encoding="utf-8")
    (tmp_path / "eng.txt").write_bytes(b"\xef\xbb\xbfHello\r\n\r\nThanks")
    expected = [
        Example(text="Habari", language="sw", target="Hello", id="1"),
        Example(text="Asante", language="sw", target="Thanks", id="3"),
    ]
    settings: dict[str, Any] = {"format": "bitext_files", "target_path": str(tmp_path / "eng.txt")}
    source = DataSource(path=str(tmp_path / "swa.txt"), language="sw", **settings)
    assert load_examples(source) == expected
    folder = DataSource(path=str(tmp_path), languages=("sw",), **settings)
    assert load_examples(folder) == expected


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a\nb\n", "x\n", r"en.txt has 1 lines, but .*sw.txt has 2; expected as many"),
        ("a\n", "x\ny\nz\n", r"sw.txt has 1 lines, but .*en.txt has 3; expected as many"),
        ("a\n\n", "x\ny\n", r"sw.txt, line 2: text is empty"),
        ("a\nb\n", "x\n \n", r"sw.txt, line 2: target is empty"),
    ],
)
def test_bad_bitext_files(tmp_path: Path, source: str, target: str, message: str) -> None:
    (tmp_path / "sw.txt").write_text(source, encoding="utf-8")
    (tmp_path / "en.txt").write_text(target, encoding="utf-8")
    settings = {"path": str(tmp_path / "sw.txt"), "target_path": str(tmp_path / "en.txt")}
    with pytest.raises(DataError, match=message):
        load_examples(DataSource(format="bitext_files", language="sw", **settings))


def test_a_template_makes_the_text(tmp_path: Path) -> None:
    row = {"premise": "{P}", "hypothesis": "H", "label": 0}
    file = write(tmp_path / "a.jsonl", row)
    template = "Premise: {premise}\nHypothesis: {hypothesis}\nLabel:"
    source = DataSource(path=str(file), format="xnli", language="sw", template=template)
    (example,) = load_examples(source)
    assert example.text == "Premise: {P}\nHypothesis: H\nLabel:"
    assert example.parts == {"premise": "{P}", "hypothesis": "H"}
    named = DataSource(name="word_problems", split="dev", limit=1, template="Q: {text}")
    assert all(e.text.startswith("Q: ") for e in iter_examples(named))


def test_examples_come_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [json.dumps(row) for row in questions(*range(100))]
    file.write_text("\n".join([*rows, "not JSON"]), encoding="utf-8")
    source = DataSource(path=str(file), format="mgsm", language="sw")
    assert [e.id for e in islice(iter_examples(source), 100)] == [str(i) for i in range(100)]
    with pytest.raises(DataError, match="line 101: not valid JSON"):
        load_examples(source)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
def test_the_file_is_never_in_memory(tmp_path: Path, name: str) -> None:
    file, count, text = tmp_path / name, 1200, "Ngapi? " * 500
    row = json.dumps({"question": text, "answer": 5})
    if name == "a.json":
        content = "[" + ",".join([row] * count) + "]"
    elif name == "a.jsonl":
        content = "\n".join([row] * count)
    else:
        separator = "," if name == "a.csv" else "\t"
        lines = [f"{text}{separator}5"] * count
        content = "\n".join([f"question{separator}answer", *lines])
    file.write_text(content, encoding="utf-8")
    size = len(content)
    del content
    tracemalloc.start()
    try:
        source = DataSource(path=str(file), format="mgsm", language="sw")
        assert sum(1 for _ in iter_examples(source)) == count
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()


def test_a_known_language_is_read_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join([*map(json.dumps, questions(0, 1)), "not JSON"]), encoding="utf-8")
    source = DataSource(path=str(file), format="mgsm", language="sw", limit=2)
    assert len(load_examples(source)) == 2


def test_ids_are_unique_in_a_language(tmp_path: Path) -> None:
    rows = [{"text": "a", "language": tag, "id": "7"} for tag in ("sw", "th", "sw")]
    file = write(tmp_path / "a.jsonl", *rows)
    with pytest.raises(DataError) as error:
        load_examples(DataSource(path=str(file)))
    assert str(error.value) == (
        f"{file}, line 3: id '7' of language 'sw' was already at {file}, line 1; ids must be "
        "unique in a language"
    )
    thai = DataSource(path=str(file), columns={"text": "text"}, languages=("th",))
    with pytest.raises(DataError, match="line 3: id '7'"):
        load_examples(thai)


def test_equal_hashes_are_not_equal_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layalign.data.loading.hash", lambda _: 0, raising=False)
    file = write(tmp_path / "a.jsonl", *questions(0, 1, 2))
    assert len(load_examples(DataSource(path=str(file), format="mgsm", language="sw"))) == 3


def test_nothing_but_a_header(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,language\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv: no examples$"):
        load_examples(DataSource(path=str(file)))


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder; check the path"):
        load_examples(DataSource(path=str(tmp_path / "nowhere"), format="mgsm"))


# Every family of readers, with a row that it accepts.
FAMILIES: dict[str, tuple[str, str, str]] = {
    "jsonl": ("a.jsonl", "", '{"text": "Ngapi?", "id": "1"}\n'),
    "array": ("a.json", "[", '{"text": "Ngapi?", "id": "1"}'),
    "csv": ("a.csv", "text,id\n", "Ngapi?,1\n"),
    "bitext": ("a.tsv", "", "Ngapi?\tHow many?\n"),
    "mgsm": ("b.tsv", "", "Ngapi?\t5\n"),
    "xnli": ("c.tsv", "premise\thypothesis\tlabel\tid\n", "a\tb\t0\t1\n"),
    "msvamp": ("d.json", "[", '{"m_query": "Ngapi?", "response": "5", "id": 1}'),
    "xcopa": (
        "e.jsonl",
        "",
        '{"premise": "a", "choice1": "b", "choice2": "c", "question": "cause", "label": 0, '
        '"idx": 1}\n',
    ),
    "x_csqa": (
        "f.jsonl",
        "",
        '{"id": 1, "question": {"stem": "a", "choices": [{"label": "A", "text": "b"}]}}\n',
    ),
    "metamath": ("g.jsonl", "", '{"query": "a", "response": "b", "id": 1}\n'),
    "gsm_questions": (
        "h.jsonl",
        "",
        '{"question": "a", "response_en": "b", "answer": 1, "id": 1}\n',
    ),
    "bitext_files": ("i.txt", "", "Ngapi?\n"),
}  # fmt: skip
FORMAT_OF = {"array": "jsonl"}


def source_of(family: str, path: Path) -> DataSource:
    target = None
    if family == "bitext_files":
        other = path.parent / "english.txt"
        other.write_text("How many?\n", encoding="utf-8")
        target = str(other)
    format = FORMAT_OF.get(family, family)
    return DataSource(path=str(path), format=format, language="sw", target_path=target)


Spoil = Callable[[bytes, bytes], bytes]
HOSTILE: dict[str, tuple[Spoil, str]] = {
    "empty": (lambda head, row: b"", "the file is empty"),
    "blank": (lambda head, row: b"\n  \n", "the file is empty"),
    "not utf-8": (lambda head, row: head + row.replace(b"a", b"\xe9", 1) + b"\xff", "not UTF-8"),
    "utf-16": (lambda head, row: (head + row).decode().encode("utf-16"), "not UTF-8"),
    "long": (lambda head, row: head + b" " * 10_000_000 + row, "longer than"),
    "binary": (lambda head, row: bytes(range(255, -1, -1)) * 8, "not UTF-8"),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_files(tmp_path: Path, family: str, hostile: str) -> None:
    name, head, row = FAMILIES[family]
    spoil, message = HOSTILE[hostile]
    if (family, hostile) == ("bitext_files", "blank"):
        message = "line 1: text is empty"  # the other file has a sentence there
    if hostile == "long" and name.endswith(".json"):
        head = '[{"text": "' + "x" * 2 * MAX_SIZE  # space between items may be of any length
    file = tmp_path / name
    file.write_bytes(spoil(head.encode(), row.encode()))
    one_error(source_of(family, file), message)


@pytest.mark.parametrize("family", FAMILIES)
def test_truncated_gzip(tmp_path: Path, family: str) -> None:
    name, head, row = FAMILIES[family]
    file = tmp_path / f"{name}.gz"
    file.write_bytes(gzip.compress((head + row).encode())[:-6])
    one_error(source_of(family, file), "damaged or truncated gzip file")


def one_error(source: DataSource, message: str) -> None:
    with pytest.raises(DataError) as error:
        load_examples(source)
    assert message in str(error.value)
    assert str(Path(source.path or "").parent) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_byte_order_mark_does_not_matter(tmp_path: Path, family: str) -> None:
    name, head, row = FAMILIES[family]
    end = "]" if head == "[" else ""
    loaded = []
    for i, mark in enumerate((b"", b"\xef\xbb\xbf")):
        file = tmp_path / str(i) / name
        file.parent.mkdir()
        file.write_bytes(mark + (head + row + end).encode())
        loaded.append(load_examples(source_of(family, file)))
    assert loaded[0] == loaded[1]
    assert len(loaded[0]) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_nul_bytes(tmp_path: Path, family: str) -> None:
    name, head, row = FAMILIES[family]
    file = tmp_path / name
    for letter in ("Ngapi?", '"a"', "a\t"):
        row = row.replace(letter, letter[:1] + "\0" + letter[1:], 1)
    file.write_bytes((head + row + ("]" if head == "[" else "")).encode())
    with pytest.raises(DataError) as error:
        load_examples(source_of(family, file))
    assert str(error.value).startswith(str(file))
    # JSON itself forbids control characters, and so did Python's csv module before 3.11.
    assert any(part in str(error.value) for part in ("U+0000", "control character", "NUL"))


WITH_IDS = [name for name in FAMILIES if name not in ("bitext", "mgsm", "bitext_files")]


@pytest.mark.parametrize("family", WITH_IDS)
def test_duplicate_ids(tmp_path: Path, family: str) -> None:
    name, head, row = FAMILIES[family]
    file = tmp_path / name
    file.write_text(head + (f"{row},{row}]" if head == "[" else row * 2), encoding="utf-8")
    with pytest.raises(DataError, match=r"id '1' of language 'sw' was already at") as error:
        load_examples(source_of(family, file))
    assert str(error.value).count(str(file)) == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_another_kind_of_file(tmp_path: Path, family: str) -> None:
    """A file whose ending is right and whose columns are others."""
    if family == "bitext_files":
        pytest.skip("every text is a sentence")
    file = tmp_path / FAMILIES[family][0]
    contents = {
        ".json": '[{"colour": "red"}]',
        ".jsonl": '{"colour": "red"}',
        ".csv": "colour\nred\n",
        ".tsv": "colour\tsize\tshape\nred\tbig\tround\n",
    }
    file.write_text(contents[file.suffix], encoding="utf-8")
    with pytest.raises(DataError, match=r"no column|expected 2|states no language"):
        load_examples(source_of(family, file))


def test_unknown_language(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown language 'swahilli'"):
        DataSource(path="a.tsv", format="mgsm", language="swahilli")
    file = write(tmp_path / "a.jsonl", {"text": "a", "language": "swahilli"})
    with pytest.raises(DataError, match=r"line 1: unknown language 'swahilli'"):
        load_examples(DataSource(path=str(file)))


def test_settings_show_before_reading(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'answer'"):
        load_examples(DataSource(path=str(tmp_path / "a.csv"), columns={"anwser": "gold"}))


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.parquet"
    file.touch()
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for source in (
        DataSource(hub="some/set", split="test", language="sw"),
        DataSource(path=str(file), language="sw"),
    ):
        with pytest.raises(DataError, match=r"is not installed; .* pip install 'layalign\[data\]'"):
            load_examples(source)
