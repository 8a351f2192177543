"""One language file: load it strictly, check it against the catalogue, write problems in it."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from babel import Locale
from placeholders import NOUN, Pattern, Placeholder, parse
from sampling import Problem
from strict_yaml import CatalogueError, load_mapping

CATEGORIES = ("zero", "one", "two", "few", "many", "other")
"""CLDR plural categories in CLDR order."""
REQUIRED = frozenset({"names", "nouns", "number_words", "templates"})
OPTIONAL = frozenset({"classes", "counted", "plural", "digits", "upper"})
_SENTENCE_START = re.compile(r"(^|[.?!]\s+)([¿¡«\"“]*)(\w)")


class Language:
    """The names, nouns, number words and sentences of one language.

    Args:
        path: ``languages/<tag>.yaml``; the file name is the BCP-47 tag.

    Raises:
        CatalogueError: The file is not valid on its own; the message names file and key.
    """

    def __init__(self, path: Path) -> None:
        """Read and check the file."""
        data = load_mapping(path, REQUIRED, OPTIONAL)
        self.file = path.name
        self.tag = path.stem
        self.locale = Locale.parse(self.tag, sep="-")
        self.names = _with_base(data["names"])
        self.nouns = _with_base(data["nouns"])
        self.classes: Mapping[str, Any] = data.get("classes", {})
        self.number_words: Mapping[str, Mapping[int, str]] = data["number_words"]
        self._plural: Mapping[str, str] = data.get("plural", {})
        self._digits = str.maketrans("0123456789", data.get("digits", "0123456789"))
        self._upper: Mapping[str, str] = data.get("upper", {})
        self.categories = self._used_categories()
        self.counted = {
            key: self._parse_counted(key, entry) for key, entry in data.get("counted", {}).items()
        }
        self.templates = {
            key: self._parse(f"templates.{key}", text) for key, text in data["templates"].items()
        }

    def write(self, problem: Problem) -> str:
        """The question of a problem in this language.

        Raises:
            CatalogueError: A form, word or table that the sentence asks for is missing.
        """
        try:
            text = self._write(self.templates[problem.template.id], problem, dict(problem.values))
        except LookupError as error:
            raise CatalogueError(
                f"{self.file}: templates.{problem.template.id}: {error.args[0]}"
            ) from error
        return _SENTENCE_START.sub(self._capital, text)

    def with_sentences(self, file: str, sentences: Mapping[str, str]) -> Language:
        """The same language telling other stories."""
        other = copy.copy(self)
        other.file = file
        other.templates = {
            key: other._parse(f"{key}.text", text) for key, text in sentences.items()
        }
        return other

    def category(self, number: int) -> str:
        """The plural category of a number: CLDR's, unless ``plural`` maps it to another."""
        category = str(self.locale.plural_form(number))
        return self._plural.get(category, category)

    def _used_categories(self) -> list[str]:
        found = {self.category(number) for number in range(2, 100)}
        unknown = found - set(CATEGORIES)
        if unknown:
            raise CatalogueError(f"{self.file}: plural: unknown categories {sorted(unknown)}")
        return [category for category in CATEGORIES if category in found]

    def _parse(self, key: str, text: object) -> Pattern:
        if not isinstance(text, str) or not text:
            raise CatalogueError(f"{self.file}: {key}: expected a text, found {text!r}")
        try:
            return parse(text)
        except ValueError as error:
            raise CatalogueError(f"{self.file}: {key}: {error}") from error

    def _parse_counted(self, key: str, entry: object) -> dict[str, Pattern]:
        """The patterns of ``counted.<key>`` by plural category; a plain text serves all."""
        texts = entry if isinstance(entry, dict) else dict.fromkeys(self.categories, entry)
        if set(texts) != set(self.categories):
            raise CatalogueError(
                f"{self.file}: counted.{key}: expected the categories "
                f"{self.categories}, found {sorted(map(str, texts))}"
            )
        return {
            category: self._parse(f"counted.{key}.{category}", text)
            for category, text in texts.items()
        }

    def _write(self, pattern: Pattern, problem: Problem, values: Mapping[str, int]) -> str:
        return "".join(
            part if isinstance(part, str) else self._fill(part, problem, values) for part in pattern
        )

    def _fill(self, part: Placeholder, problem: Problem, values: Mapping[str, int]) -> str:
        if part.kind == "choice":
            return self._write(self._choose(part, problem, values), problem, values)
        if part.kind == "name":
            return _form(self.names, problem.persons[part.subject], part.form or "base")
        if part.kind == "noun":
            return self._noun(problem, part.form or "base")
        number = values[part.subject]
        if part.kind == "noun_for":
            return self._noun(problem, _join(part.form, self.category(number)))
        if part.kind == "counted":
            patterns = _get(self.counted, part.form or "default", "counted")
            in_words = {"n"} if part.subject in problem.in_words else set()
            inner = replace(problem, in_words=frozenset(in_words))
            return self._write(patterns[self.category(number)], inner, {"n": number})
        table = _join(self._class(problem), part.form) if part.kind == "agreeing" else part.form
        return self._number(number, part.subject in problem.in_words, table or "default")

    def _number(self, number: int, in_words: bool, table: str) -> str:
        words = _get(self.number_words, table, "number_words")
        return (
            str(_get(words, number, f"number_words.{table}")) if in_words else self.digits(number)
        )

    def digits(self, number: int) -> str:
        """A number in the digits of this language."""
        return str(number).translate(self._digits)

    def _noun(self, problem: Problem, form: str) -> str:
        noun = problem.noun or ""
        try:
            return _form(self.nouns, noun, form)
        except LookupError:
            if not self.classes:
                raise
        return _form(self.classes, self._class(problem), form)

    def _class(self, problem: Problem) -> str:
        return str(_get(self.nouns[problem.noun or ""], "class", f"nouns.{problem.noun}"))

    def _choose(self, part: Placeholder, problem: Problem, values: Mapping[str, int]) -> Pattern:
        if part.subject in problem.persons:
            outcomes, outcome = ["m", "f"], problem.genders[part.subject]
        elif part.subject == NOUN:
            outcomes, outcome = list(self.classes), self._class(problem)
        else:
            outcomes, outcome = self.categories, self.category(values[part.subject])
        if len(part.options) != len(outcomes):
            raise LookupError(
                f"{{{part.subject}?...}} needs {len(outcomes)} options ({outcomes}), "
                f"found {len(part.options)}"
            )
        return part.options[outcomes.index(outcome)]

    def _capital(self, match: re.Match[str]) -> str:
        before, quotes, letter = match.groups()
        return before + quotes + self._upper.get(letter, letter.upper())


def _with_base(entries: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A plain text is short for a mapping with the one form ``base``."""
    return {
        key: entry if isinstance(entry, dict) else {"base": entry} for key, entry in entries.items()
    }


def _join(*parts: str | None) -> str:
    return ".".join(part for part in parts if part)


def _get(mapping: Mapping[Any, Any], key: object, where: str) -> Any:
    if key not in mapping:
        raise LookupError(f"{where} has no {key!r}")
    return mapping[key]


def _form(entries: Mapping[str, Any], key: str, form: str) -> str:
    """Look up ``acc.few`` of an entry; forms may nest."""
    value: Any = entries[key]
    for part in form.split("."):
        value = _get(value if isinstance(value, dict) else {}, part, f"{key} (form {form!r})")
    if not isinstance(value, str):
        raise LookupError(f"{key} form {form!r}: expected a text, found {value!r}")
    return value
