"""Parse the sentences of a language file into text and placeholders (README.md lists them)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

NOUN = "item"
_PERSON = re.compile(r"N[12]")
_NUMBER = re.compile(r"[abcn]")
_CHOICE = re.compile(r"(\w+)\?")
_SIMPLE = re.compile(
    r"(?P<agreeing>[abcn])~item(?P<agreeing_case>\.\S+)?"
    r"|(?P<counted>[abc])\+item(?P<counted_case>\.\S+)?"
    r"|item:(?P<noun_for>[abcn])(?P<noun_case>\.\S+)?"
    r"|(?P<plain>\w+)(?P<form>\.\S+)?"
)


@dataclass(frozen=True)
class Placeholder:
    """One ``{...}`` of a sentence.

    Attributes:
        kind: ``number``, ``agreeing``, ``counted``, ``noun``, ``noun_for``, ``name`` or ``choice``.
        subject: The slot, person or ``item`` that decides what is written.
        form: A named form, case or table; None is the default one.
        options: For a choice, one parsed text for each outcome.
    """

    kind: str
    subject: str
    form: str | None = None
    options: tuple[Pattern, ...] = ()


Pattern = tuple["str | Placeholder", ...]


def parse(text: str) -> Pattern:
    """Split a sentence into text and placeholders.

    Raises:
        ValueError: A brace is not closed or a placeholder is unknown.
    """
    parts: list[str | Placeholder] = []
    position = 0
    while position < len(text):
        opening = text.find("{", position)
        if opening < 0:
            opening = len(text)
        if "}" in text[position:opening]:
            raise ValueError(f"'}}' without '{{' in {text!r}")
        if opening > position:
            parts.append(text[position:opening])
        if opening == len(text):
            break
        closing = _closing(text, opening)
        parts.append(_placeholder(text[opening + 1 : closing]))
        position = closing + 1
    return tuple(parts)


def _closing(text: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"'{{' is never closed in {text!r}")


def _placeholder(body: str) -> Placeholder:
    choice = _CHOICE.match(body)
    if choice:
        _kind(choice[1], body)
        options = tuple(parse(option) for option in _split_options(body[choice.end() :]))
        return Placeholder("choice", choice[1], options=options)
    match = _SIMPLE.fullmatch(body)
    if match is None:
        raise ValueError(f"unknown placeholder {{{body}}}")
    for kind, case in (
        ("agreeing", "agreeing_case"),
        ("counted", "counted_case"),
        ("noun_for", "noun_case"),
    ):
        if match[kind]:
            return Placeholder(kind, match[kind], _form(match[case]))
    return Placeholder(_kind(match["plain"], body), match["plain"], _form(match["form"]))


def _form(matched: str | None) -> str | None:
    return matched[1:] if matched else None


def _kind(subject: str, body: str) -> str:
    if subject == NOUN:
        return "noun"
    if _PERSON.fullmatch(subject):
        return "name"
    if _NUMBER.fullmatch(subject):
        return "number"
    raise ValueError(f"unknown placeholder {{{body}}}")


def _split_options(text: str) -> list[str]:
    """Split at the bars that are not inside a nested placeholder."""
    options, depth = [""], 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "|" and depth == 0:
            options.append("")
        else:
            options[-1] += character
    return options


def subjects(pattern: Pattern) -> set[str]:
    """Every slot, person and ``item`` that a sentence refers to in any way."""
    found = set()
    for part in pattern:
        if isinstance(part, Placeholder):
            found.add(part.subject)
            if part.kind in ("agreeing", "counted", "noun_for"):
                found.add(NOUN)
            for option in part.options:
                found |= subjects(option)
    return found


def mentions(pattern: Pattern) -> Counter[str]:
    """How often a sentence writes each number and person; a choice counts its fullest option."""
    total: Counter[str] = Counter()
    for part in pattern:
        if not isinstance(part, Placeholder):
            continue
        if part.kind in ("number", "agreeing", "counted", "name"):
            total[part.subject] += 1
        fullest: Counter[str] = Counter()
        for option in part.options:
            fullest |= mentions(option)
        total += fullest
    return total
