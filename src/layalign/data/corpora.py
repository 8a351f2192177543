"""What the rows of known corpora mean: one function a form, from a row to an example's fields.

Column names are those under which the publishers, or their sets on the Hugging Face Hub, ship
them. Items of one number in every language get an id also where the rows have none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from layalign.data.rows import as_text, kind, listed, plain_text
from layalign.errors import DataError

NLI_LABELS = ("entailment", "neutral", "contradiction")
"""In the order of their numbers 0, 1, 2."""

_OTHER_LABELS = {"contradictory": "contradiction"}  # in the translated training set of XNLI

_NUMBER = re.compile(r"(?P<sign>[+-]?)\$?(?P<digits>\d+(?:,\d{3})*(?:\.\d+)?)")
_FINAL_ANSWER = re.compile(r"(?:The answer is:?|####)[ \t]*(.*)")


@dataclass(frozen=True)
class Record:
    """One row, whose values are asked for by the names that they may have."""

    where: str
    """Begins every error."""

    index: int
    """Of the row in its file, from 0."""

    values: Mapping[str, Any]
    """By column."""

    def get(self, *names: str) -> Any:
        """The first value there is under one of the names, or None."""
        return next((v for name in names if (v := self.values.get(name)) is not None), None)

    def require(self, *names: str) -> Any:
        """The first value there is under one of the names.

        Raises:
            DataError: There is none.
        """
        if (value := self.get(*names)) is not None:
            return value
        columns = listed(tuple(self.values)) or "none"
        if here := [name for name in names if name in self.values]:
            raise self.error(f"{listed(here)} is empty; expected a value")
        raise self.error(
            f"no column {' or '.join(map(repr, names))}; the columns are {columns}; check that "
            "the format fits the data, or map columns with a format such as 'jsonl'"
        )

    def text(self, *names: str) -> str:
        """A text.

        Raises:
            DataError: There is none, or it is something else.
        """
        value = self.require(*names)
        if not isinstance(value, str):
            raise self.error(f"{self._name(names)!r} must be a text, found {kind(value)}")
        return plain_text(value)

    def id(self, *names: str) -> str | None:
        """A text or number as text, or None if there is none."""
        return as_text(self.get("id", *names))

    def number(self, *names: str) -> str:
        """A number as plain text: no thousands separators, currency or trailing zeros.

        Raises:
            DataError: There is none, or it is something else.
        """
        value = self.require(*names)
        if number := plain_number(as_text(value) or ""):
            return number
        found = repr(value[:40]) if isinstance(value, str) else kind(value)
        raise self.error(f"{self._name(names)!r} must be a number, found {found}")

    def _name(self, names: tuple[str, ...]) -> str:
        return next(name for name in names if self.values.get(name) is not None)

    def error(self, message: str) -> DataError:
        """An error about this row."""
        return DataError(f"{self.where}: {message}")


def plain_number(text: str) -> str | None:
    """A number in plain digits: ``"$1,600.50"`` becomes ``"1600.5"``; None if it is none."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    digits = match["digits"].replace(",", "")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return ("-" if match["sign"] == "-" else "") + digits


def math_question(row: Record) -> dict[str, Any]:
    """MGSM, AfriMGSM and MSVAMP: a question and a number."""
    return {
        "text": row.text("question", "m_query"),
        "answer": row.number("answer_number", "answer", "response"),
        "id": row.id() or str(row.index),
    }


def gsm_question(row: Record) -> dict[str, Any]:
    """A question in any language with an English response and its number."""
    return {
        "text": row.text("question"),
        "target": row.text("response_en"),
        "answer": row.number("answer"),
        "id": row.id(),
    }


def metamath(row: Record) -> dict[str, Any]:
    """MetaMathQA: the number stands after the response's last cue, if it is a plain one."""
    response = row.text("response")
    finals = _FINAL_ANSWER.findall(response)
    return {
        "text": row.text("query"),
        "target": response,
        "answer": plain_number(finals[-1].strip().rstrip(".")) if finals else None,
        "id": row.id(),
    }


def csqa(row: Record) -> dict[str, Any]:
    """X-CSQA, in the form of CommonsenseQA; test sets have no ``answerKey``."""
    question = row.require("question")
    if not isinstance(question, Mapping) or not isinstance(question.get("stem"), str):
        found = kind(question)
        raise row.error(f"'question' must be an object with stem and choices, found {found}")
    choices = _choices(row, question.get("choices"))
    answer = as_text(row.get("answerKey")) or None
    if answer is not None and answer not in tuple(ascii_uppercase[: len(choices)]):
        raise row.error(f"answerKey {answer!r} is not the label of one of {len(choices)} choices")
    stem = plain_text(question["stem"])
    return {
        "text": stem,
        "parts": {"stem": stem},
        "choices": choices,
        "answer": answer,
        "id": row.id(),
    }


def _choices(row: Record, choices: Any) -> tuple[str, ...]:
    """Texts in the order of their labels, from a list of both or, as on the Hub, two lists."""
    try:
        if isinstance(choices, Mapping):
            pairs = sorted(zip(choices["label"], choices["text"], strict=True))
        else:
            pairs = sorted((choice["label"], choice["text"]) for choice in choices)
        texts = tuple(plain_text(text) for _, text in pairs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise row.error("question.choices must each have a label and a text") from error
    labels = "".join(label for label, _ in pairs)
    if labels != ascii_uppercase[: len(pairs)] or not pairs:
        found = listed(tuple(labels)) or "none"
        raise row.error(f"question.choices must be labelled A, B, C …, found {found}")
    return texts


def nli(row: Record) -> dict[str, Any]:
    """XNLI: two sentences and how the second follows from the first, as word or number."""
    premise = row.text("premise", "sentence1")
    hypothesis = row.text("hypothesis", "hypo", "sentence2")
    found = as_text(row.get("label", "gold_label"))
    words = {str(i): word for i, word in enumerate(NLI_LABELS)} | _OTHER_LABELS
    label = words.get(found, found) if found else None
    if label is not None and label not in NLI_LABELS:
        raise row.error(f"label {found!r}; expected one of {', '.join(NLI_LABELS)} or 0, 1, 2")
    return {
        "text": f"{premise}\n{hypothesis}",
        "parts": {"premise": premise, "hypothesis": hypothesis},
        "choices": NLI_LABELS,
        "answer": label,
        "id": row.id("pairID", "idx") or str(row.index),
    }


def copa(row: Record) -> dict[str, Any]:
    """XCOPA: which of two choices is the premise's cause or effect."""
    premise, question = row.text("premise"), row.text("question")
    if question not in ("cause", "effect"):
        raise row.error(f"question {question!r}; expected 'cause' or 'effect'")
    label = as_text(row.get("label"))
    if label not in ("0", "1", None):
        raise row.error(f"label {label!r}; expected 0 or 1")
    return {
        "text": premise,
        "parts": {"premise": premise, "question": question},
        "choices": (row.text("choice1"), row.text("choice2")),
        "answer": None if label is None else "AB"[int(label)],
        "id": row.id("idx") or str(row.index),
    }
