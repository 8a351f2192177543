"""Every corpus in every form in which its publishers ship it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from layalign.data import FORMATS, DataSource, Example, load_examples
from layalign.data.corpora import plain_number
from layalign.data.formats import CORPORA
from layalign.errors import DataError

QUESTION = {"text": "Ngapi, 2 + 3?", "language": "sw", "answer": "5"}
NLI = {
    "text": "Anakula.\nAna njaa.",
    "parts": {"premise": "Anakula.", "hypothesis": "Ana njaa."},
    "choices": ("entailment", "neutral", "contradiction"),
}
COPA_ROW = {"premise": "Mvua ilinyesha.", "choice1": "Kavu.", "choice2": "Maji."}
COPA = {
    "text": "Mvua ilinyesha.",
    "parts": {"premise": "Mvua ilinyesha.", "question": "effect"},
    "choices": ("Kavu.", "Maji."),
}
XNLI_HEADER = (
    "language\tgold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2\tpromptID\tpairID\tgenre"
)


def choices(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"label": label, "text": text} for label, text in pairs]


def csqa_row(**changes: Any) -> dict[str, Any]:
    question = {"stem": "Wapi?", "choices": choices(("A", "hapa"), ("B", "kule"))}
    return {"id": "x1", "lang": "sw", "question": question, "answerKey": "B", **changes}


CSQA = {"text": "Wapi?", "language": "sw", "id": "x1", "parts": {"stem": "Wapi?"}}
CSQA = {**CSQA, "choices": ("hapa", "kule")}


def lines(*rows: Mapping[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


FORMS: list[tuple[str, str, str, list[dict[str, Any]]]] = [
    # format, file name, content, fields of the examples
    (
        "mgsm",
        "mgsm_sw.tsv",
        'Ngapi, 2 + 3?\t5\nNgapi, "mia" 16?\t1,600\n',
        [
            {**QUESTION, "id": "0"},
            {**QUESTION, "id": "1", "text": 'Ngapi, "mia" 16?', "answer": "1600"},
        ],
    ),
    (
        "mgsm",
        "sw.jsonl",
        lines({"id": 7, "question": "Ngapi, 2 + 3?", "answer": 5}),
        [{**QUESTION, "id": "7"}],
    ),
    (
        "mgsm",
        "sw.json",
        lines({"question": "Ngapi, 2 + 3?", "answer": None, "answer_number": 5}),
        [{**QUESTION, "id": "0"}],
    ),
    (
        "mgsm",
        "sw.json",
        lines({"question": "Ngapi, 2 + 3?", "answer": "2 + 3 = 5.", "answer_number": 5.0}),
        [{**QUESTION, "id": "0"}],
    ),
    (
        "afrimgsm",
        "sw.tsv",
        "question\tanswer\tanswer_number\tequation_solution\nNgapi, 2 + 3?\t\t5\t2+3=5\n",
        [{**QUESTION, "id": "0"}],
    ),
    ("afrimgsm", "sw.tsv", "Ngapi, 2 + 3?\t5", [{**QUESTION, "id": "0"}]),
    (
        "msvamp",
        "sw.json",
        json.dumps([{"m_query": "Ngapi, 2 + 3?", "response": "5.0"}]),
        [{**QUESTION, "id": "0"}],
    ),
    (
        "msvamp",
        "sw.jsonl",
        lines({"id": 3, "question": "Ngapi, 2 + 3?", "answer": 5}),
        [{**QUESTION, "id": "3"}],
    ),
    (
        "gsm_questions",
        "sw.jsonl",
        lines({"id": 4, "question": "Ngapi, 2 + 3?", "response_en": "2+3=5\n#### 5", "answer": 5}),
        [{**QUESTION, "id": "4", "target": "2+3=5\n#### 5"}],
    ),
    (
        "metamath",
        "sw.json",
        json.dumps(
            [
                {"query": "Ngapi, 2 + 3?", "response": "So\n#### 5\nThe answer is: 5", "type": "x"},
                {"query": "Half?", "response": "The answer is: \\frac{1}{2}"},
                {"query": "Half?", "response": "Hm."},
                {"query": "Half?", "response": "The answer is: 3\nThe answer is: -$1,000.50."},
            ]
        ),
        [
            {**QUESTION, "target": "So\n#### 5\nThe answer is: 5"},
            {"text": "Half?", "language": "sw", "target": "The answer is: \\frac{1}{2}"},
            {"text": "Half?", "language": "sw", "target": "Hm."},
            {
                "text": "Half?",
                "language": "sw",
                "target": "The answer is: 3\nThe answer is: -$1,000.50.",
                "answer": "-1000.5",
            },
        ],
    ),
    ("x_csqa", "sw.jsonl", lines(csqa_row()), [{**CSQA, "answer": "B"}]),
    (
        "x_csqa",
        "sw.jsonl",
        lines(
            csqa_row(question={"stem": "Wapi?", "choices": choices(("B", "kule"), ("A", "hapa"))})
        ),
        [{**CSQA, "answer": "B"}],
    ),
    (
        "x_csqa",
        "sw.jsonl",
        lines(
            csqa_row(
                question={
                    "stem": "Wapi?",
                    "choices": {"label": ["A", "B"], "text": ["hapa", "kule"]},
                },
                answerKey="",
            )
        ),
        [CSQA],
    ),
    (
        "xnli",
        "sw.tsv",
        f"{XNLI_HEADER}\nsw\tneutral\t\t\t\t\tAnakula.\tAna njaa.\t1\t12\ttelephone\n",
        [{**NLI, "language": "sw", "answer": "neutral", "id": "12"}],
    ),
    (
        "xnli",
        "multinli.train.sw.tsv",
        "premise\thypo\tlabel\nAnakula.\tAna njaa.\tcontradictory\n",
        [{**NLI, "language": "sw", "answer": "contradiction", "id": "0"}],
    ),
    (
        "xnli",
        "sw.jsonl",
        lines(
            *({"premise": "Anakula.", "hypothesis": "Ana njaa.", "label": i} for i in range(3)),
            {"premise": "Anakula.", "hypothesis": "Ana njaa."},
        ),
        [
            {**NLI, "language": "sw", "answer": "entailment", "id": "0"},
            {**NLI, "language": "sw", "answer": "neutral", "id": "1"},
            {**NLI, "language": "sw", "answer": "contradiction", "id": "2"},
            {**NLI, "language": "sw", "id": "3"},
        ],
    ),
    (
        "xcopa",
        "val.sw.jsonl",
        lines(
            {**COPA_ROW, "question": "effect", "label": 1, "idx": 8, "changed": False},
            {**COPA_ROW, "question": "effect", "label": 0, "idx": 9},
            {**COPA_ROW, "question": "effect", "idx": 10},
        ),
        [
            {**COPA, "language": "sw", "answer": "B", "id": "8"},
            {**COPA, "language": "sw", "answer": "A", "id": "9"},
            {**COPA, "language": "sw", "id": "10"},
        ],
    ),
]


def test_every_corpus_is_here() -> None:
    assert {form[0] for form in FORMS} == set(CORPORA)


@pytest.mark.parametrize(("format", "name", "content", "expected"), FORMS)
def test_forms(
    tmp_path: Path, format: str, name: str, content: str, expected: list[dict[str, Any]]
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    examples = load_examples(DataSource(path=str(tmp_path / name), format=format, language="sw"))
    assert examples == [Example(**fields) for fields in expected]
    assert all(set(example.parts) == set(FORMATS[format].parts) for example in examples)


def test_one_file_of_several_languages(tmp_path: Path) -> None:
    file = tmp_path / "xnli.dev.tsv"
    rows = [f"{tag}\tneutral\t\t\t\t\tp\th\t1\t1\tx" for tag in ("swa", "th")]
    file.write_text("\n".join([XNLI_HEADER, *rows]), encoding="utf-8")
    everything = load_examples(DataSource(path=str(file), format="xnli"))
    assert [(e.language, e.id) for e in everything] == [("sw", "1"), ("th", "1")]
    thai = DataSource(path=str(file), format="xnli", languages=("th",))
    assert load_examples(thai) == everything[1:]
    with pytest.raises(DataError, match="line 3: is of language 'th', but 'sw' was expected"):
        load_examples(DataSource(path=str(file), format="xnli", language="sw"))


def test_codes_of_rows(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(csqa_row(lang="Kiswahili")), encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1: unknown language 'Kiswahili'.*codes \{"):
        load_examples(DataSource(path=str(file), format="x_csqa"))
    source = DataSource(path=str(file), format="x_csqa", codes={"Kiswahili": "sw"})
    assert load_examples(source)[0].language == "sw"


MATH_ROW = {"question": "Ngapi?", "answer": 5}
NLI_ROW = {"premise": "a", "hypothesis": "b", "label": 0}


@pytest.mark.parametrize(
    ("format", "row", "message"),
    [
        ("mgsm", {"text": "a"}, "no column 'question' or 'm_query'; the columns are 'text'"),
        ("mgsm", {**MATH_ROW, "answer": "five"}, "'answer' must be a number, found 'five'"),
        ("mgsm", {**MATH_ROW, "answer": [5]}, "'answer' must be a number, found a list"),
        ("mgsm", {**MATH_ROW, "answer": None}, "'answer' is empty; expected a value"),
        ("mgsm", {**MATH_ROW, "question": 5}, "'question' must be a text, found the number 5"),
        ("mgsm", {**MATH_ROW, "question": " "}, "text is empty"),
        ("mgsm", {**MATH_ROW, "question": "a\0"}, "unusable character U+0000"),
        ("gsm_questions", MATH_ROW, "no column 'response_en'"),
        ("metamath", {"query": "a"}, "no column 'response'"),
        ("x_csqa", csqa_row(question="Wapi?"), "'question' must be an object with stem"),
        ("x_csqa", csqa_row(question={"stem": "a"}), "choices must each have a label and a text"),
        ("x_csqa", csqa_row(question={"stem": "a", "choices": ["b"]}), "must each have a label"),
        ("x_csqa", csqa_row(question={"stem": "a", "choices": []}), "must be labelled A, B, C"),
        (
            "x_csqa",
            csqa_row(question={"stem": "a", "choices": choices(("A", "x"), ("C", "y"))}),
            "must be labelled A, B, C …, found 'A', 'C'",
        ),
        ("x_csqa", csqa_row(answerKey="AB"), "answerKey 'AB' is not the label"),
        ("x_csqa", csqa_row(answerKey="C"), "answerKey 'C' is not the label of one of 2 choices"),
        ("xnli", {**NLI_ROW, "label": 3}, "label '3'; expected one of entailment, neutral, cont"),
        ("xnli", {**NLI_ROW, "label": "-"}, "label '-'; expected"),
        ("xnli", {"premise": "a"}, "no column 'hypothesis' or 'hypo' or 'sentence2'"),
        ("xcopa", {**COPA_ROW, "question": "why"}, "question 'why'; expected 'cause' or 'effect'"),
        ("xcopa", {**COPA_ROW, "question": "cause", "label": 2}, "label '2'; expected 0 or 1"),
    ],
)
def test_bad_rows(tmp_path: Path, format: str, row: dict[str, Any], message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(row), encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_examples(DataSource(path=str(file), format=format, language="sw"))
    assert str(error.value).startswith(f"{file}, line 1: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_language_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(lines(MATH_ROW), encoding="utf-8")
    with pytest.raises(DataError, match="line 1: the row states no language; set language"):
        load_examples(DataSource(path=str(file), format="mgsm"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", "5"),
        ("-3.50", "-3.5"),
        ("+8.0", "8"),
        ("$1,234,567", "1234567"),
        ("100", "100"),
        ("1,23", None),
        ("1/2", None),
        ("", None),
        ("5 apples", None),
    ],
)
def test_plain_number(text: str, number: str | None) -> None:
    assert plain_number(text) == number
