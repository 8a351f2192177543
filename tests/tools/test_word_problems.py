"""The shipped word problems: reproducible, parallel, correct, and honestly split."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "word_problems"
SHIPPED = ROOT / "src" / "layalign" / "data" / "word_problems"
SPLITS = {"train": 1600, "dev": 60, "test": 250}
ENGLISH = {"english": 2400, "drills": 2400}
LANGUAGES = {path.stem for path in (TOOL / "languages").glob("*.yaml")}
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)\.")

Row = dict[str, Any]
Equation = tuple[int, str, int, int]


def read(split: str) -> list[Row]:
    with gzip.open(SHIPPED / f"{split}.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {split: read(split) for split in (*SPLITS, *ENGLISH)}


def equations(rows: list[Row]) -> list[Equation]:
    found = [match for row in rows for match in EQUATION.findall(row["reasoning"])]
    return [(int(left), sign, int(right), int(result)) for left, sign, right, result in found]


def is_held_out(number: int) -> bool:
    return number >= 11 and number % 4 == 3


def stated_numbers(row: Row) -> set[int]:
    """The operands that the question gives: not the result of the first equation."""
    steps = equations([row])
    operands = Counter(number for left, _, right, _ in steps for number in (left, right))
    operands.subtract([step[3] for step in steps[:-1]])
    return {number for number, count in operands.items() if count > 0}


@pytest.mark.slow
def test_regenerating_gives_the_shipped_files(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOL / "generate.py"), "--output"]
    for folder in ("one", "two"):
        subprocess.run([*command, str(tmp_path / folder)], check=True, capture_output=True)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["README.md", *sorted(f"{split}.jsonl.gz" for split in (*SPLITS, *ENGLISH))]
    for name in names:
        first = (tmp_path / "one" / name).read_bytes()
        shipped = (SHIPPED / name).read_bytes()
        assert first == (tmp_path / "two" / name).read_bytes()
        if name.endswith(".gz"):  # zlib versions may compress the same text differently
            first, shipped = gzip.decompress(first), gzip.decompress(shipped)
        assert first == shipped, f"{name} is stale: run tools/word_problems/generate.py"


def test_data_set_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.jsonl.gz")) <= 1_000_000


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_complete_and_parallel(rows: dict[str, list[Row]], split: str) -> None:
    found = rows[split]
    assert sorted(row["id"] for row in found) == [f"{split}-{i:04d}" for i in range(SPLITS[split])]
    for row in found:
        assert set(row) == {"id", "template", "split", "answer", "reasoning", "questions"}
        assert row["split"] == split
        assert set(row["questions"]) == LANGUAGES
        for text in row["questions"].values():
            assert text
            assert text == " ".join(text.split())
            assert not set("{}") & set(text)


def test_english_rows_are_complete(rows: dict[str, list[Row]]) -> None:
    for split, prefix in (("english", "english"), ("drills", "drill")):
        ids = [f"{prefix}-{i:04d}" for i in range(ENGLISH[split])]
        assert sorted(row["id"] for row in rows[split]) == ids
        for row in rows[split]:
            assert set(row) == {"id", "template", "split", "answer", "reasoning", "questions"}
            assert row["split"] == split
            assert set(row["questions"]) == {"en"}
    stories = [row["template"] for row in rows["english"]]
    assert len(set(stories)) >= 200
    others = {row["template"] for split in SPLITS for row in rows[split]}
    assert not others & set(stories)


def test_drills_are_right_and_keep_to_the_numbers_of_train(rows: dict[str, list[Row]]) -> None:
    compute = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
    for row in rows["drills"]:
        steps = equations([row])
        assert row["questions"]["en"] == " ".join(f"{x} {sign} {y}" for x, sign, y, _ in steps)
        assert row["reasoning"] == " ".join(f"{x} {sign} {y} = {z}." for x, sign, y, z in steps)
        assert all(compute[sign](x, y) == z >= 1 for x, sign, y, z in steps)
        assert row["answer"] == str(steps[-1][3])


@pytest.mark.parametrize("split", [*SPLITS, "english"])
def test_answers_follow_from_the_reasoning(rows: dict[str, list[Row]], split: str) -> None:
    compute = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
    for row in rows[split]:
        steps = equations([row])
        assert len(steps) in (1, 2)
        for left, sign, right, result in steps:
            assert compute[sign](left, right) == result >= 0
            assert sign != "/" or left % right == 0
        equation_text = " ".join(f"{x} {sign} {y} = {z}." for x, sign, y, z in steps)
        assert row["reasoning"] == f"{equation_text} The answer is {row['answer']}."
        assert row["answer"] == str(steps[-1][3])
        assert steps[-1][3] <= 999


@pytest.mark.parametrize("split", [*SPLITS, "english"])
def test_english_questions_state_their_numbers(rows: dict[str, list[Row]], split: str) -> None:
    words = yaml.safe_load((TOOL / "languages" / "en.yaml").read_text("utf-8"))["number_words"]
    values = {word: number for number, word in words["default"].items()}
    for row in rows[split]:
        tokens = re.findall(r"\w+", row["questions"]["en"].lower())
        written = {values.get(token, int(token) if token.isdigit() else 0) for token in tokens}
        assert stated_numbers(row) <= written, row["id"]
        assert len(tokens) <= (30 if split == "english" else 26)


@pytest.mark.parametrize("split", [*SPLITS, "english"])
def test_templates_are_balanced_and_questions_differ(
    rows: dict[str, list[Row]], split: str
) -> None:
    counts = Counter(row["template"] for row in rows[split]).values()
    assert max(counts) - min(counts) <= 1
    assert len({row["questions"]["en"] for row in rows[split]}) == len(rows[split])


def test_about_a_quarter_of_small_numbers_is_written_as_a_word(rows: dict[str, list[Row]]) -> None:
    words = yaml.safe_load((TOOL / "languages" / "en.yaml").read_text("utf-8"))["number_words"]
    values = set(words["default"].values())
    tokens = [
        token
        for row in rows["train"]
        for token in re.findall(r"\w+", row["questions"]["en"].lower())
    ]
    in_words = sum(token in values for token in tokens)
    in_digits = sum(token.isdigit() and 2 <= int(token) <= 12 for token in tokens)
    assert 0.2 < in_words / (in_words + in_digits) < 0.3


def test_stories_are_disjoint(rows: dict[str, list[Row]]) -> None:
    stories = {split: {row["template"] for row in rows[split]} for split in SPLITS}
    assert {split: len(found) for split, found in stories.items()} == {
        "train": 64,
        "dev": 6,
        "test": 20,
    }
    assert len(set.union(*stories.values())) == 90


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_names_of_the_test_split_are_new(rows: dict[str, list[Row]], language: str) -> None:
    persons = yaml.safe_load((TOOL / "catalogue.yaml").read_text("utf-8"))["persons"]
    names = yaml.safe_load((TOOL / "languages" / f"{language}.yaml").read_text("utf-8"))["names"]
    written = {
        key: {form["base"] if isinstance(form := names[name], dict) else form for name in people}
        for key, people in persons.items()
    }
    assert not written["train"] & written["test"]
    if language == "en":  # elsewhere names are inflected
        splits = [*((split, "test") for split in ("train", "dev", "english")), ("test", "train")]
        for split, banned in splits:
            text = " ".join(row["questions"]["en"] for row in rows[split])
            assert not written[banned] & set(re.findall(r"\w+", text))


@pytest.mark.parametrize("split", ["train", *ENGLISH])
def test_held_out_numbers_never_are_operands_in_train(
    rows: dict[str, list[Row]], split: str
) -> None:
    for left, _, right, _ in equations(rows[split]):
        assert not any(map(is_held_out, (left, right)))


@pytest.mark.parametrize("split", ["dev", "test"])
def test_held_out_splits_state_only_held_out_numbers(
    rows: dict[str, list[Row]], split: str
) -> None:
    for row in rows[split]:
        assert all(n < 10 or is_held_out(n) for n in stated_numbers(row)), row["id"]
    operands = [n for row in rows[split] for n in stated_numbers(row)]
    assert all(2 <= number <= 99 for number in operands)


def test_no_equation_of_a_held_out_split_occurs_in_train(rows: dict[str, list[Row]]) -> None:
    train = [row for split in ("train", *ENGLISH) for row in rows[split]]
    shared = set(equations(train)) & set(equations(rows["dev"] + rows["test"]))
    assert all(max(left, right) <= 10 for left, _, right, _ in shared)


def copy_tool(folder: Path) -> None:
    """Copy the generator without its languages, to try others."""
    for path in [*TOOL.glob("*.py"), *TOOL.glob("*.yaml")]:
        shutil.copy(path, folder)
    (folder / "languages").mkdir()


def test_check_names_file_and_key(tmp_path: Path) -> None:
    """A slip in a language file is one clear line."""
    copy_tool(tmp_path)
    english = (TOOL / "languages" / "en.yaml").read_text("utf-8")
    (tmp_path / "languages" / "en.yaml").write_text(english, "utf-8")
    broken = (
        english.replace("buys {b} more. How", "buys more. How", 1)
        .replace("{item.one} cost?", "{item.dual} cost?", 1)
        .replace("  egg: {one: egg,", "  egg: {", 1)
    )
    (tmp_path / "languages" / "de.yaml").write_text(broken, "utf-8")
    command = [sys.executable, str(tmp_path / "generate.py"), "--check", "de"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "de.yaml: templates.buy_more: {b} is written 0 times, in English 1" in result.stderr
    assert "de.yaml: templates.price_of_one: apple (form 'dual') has no 'dual'" in result.stderr
    assert "Traceback" not in result.stderr


def test_placeholders_inflect(tmp_path: Path) -> None:
    """Cases, classes, plural categories, genders and nested choices, on a made-up Arabic."""
    copy_tool(tmp_path)
    english = yaml.safe_load((TOOL / "languages" / "en.yaml").read_text("utf-8"))
    (tmp_path / "languages" / "en.yaml").write_text(yaml.safe_dump(english), "utf-8")
    words = english["number_words"]["default"]
    made_up = {
        **english,
        "names": {
            key: {"base": name, "dat": f"{name}-dat"} for key, name in english["names"].items()
        },
        "nouns": {
            key: {"class": "f", "acc": {"two": "ACC2", "few": "ACCF", "many": "ACCM"}}
            for key in english["nouns"]
        },
        "classes": {
            "m": {"other": "m-other", "one": "m-one"},
            "f": {"other": "f-other", "one": "f-one"},
        },
        "number_words": {"default": words, "f.acc": {n: f"{word}-f" for n, word in words.items()}},
        "counted": {
            "default": {"two": "<pair>", "few": "{n} few", "many": "{n~item.acc} {item:n.acc}"}
        },
        "templates": {
            **english["templates"],
            "buy_more": "{N1.dat} {N1?he|she} {item?M|F} [{a+item}] ({b~item.acc} {item:b.acc})",
            "bus_station": "{a?two|{a} few|{a} many} {b} off",
        },
    }
    (tmp_path / "languages" / "ar.yaml").write_text(
        yaml.safe_dump(made_up, sort_keys=False), "utf-8"
    )
    command = [sys.executable, str(tmp_path / "generate.py")]
    checked = subprocess.run(
        [*command, "--check", "ar"], capture_output=True, text=True, check=False
    )
    assert checked.stdout == "ar: ok\n", checked.stderr
    shown = subprocess.run(
        [*command, "--show", "ar", "900"], capture_output=True, text=True, check=True
    )
    person = r"(Anna|Maria|\w+)-dat (he|she) F "
    counted = r"\[(<pair>|(\d|1[02]|\w+) few|\d+ ACCM|(ten|twelve)-f ACC[MF])\]"
    assert re.search(rf"  ar: {person}{counted} \(\S+ ACC[2FM]\)", shown.stdout)
    assert re.search(r"  ar: (\d+) many \w+ off", shown.stdout)
