"""Checks that drop examples from a source, each with a name, one example after the other."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from layalign.data.example import Example
from layalign.data.normal import contents
from layalign.data.scripts import foreign_share
from layalign.data.tokens import counter
from layalign.errors import ConfigError

REASONS: Mapping[str, str] = {
    "empty": "a side without any letter or digit",
    "control_character": "a control, replacement or private-use character",
    "identical": "a target that is the text itself",
    "wrong_script": "too many letters of a script that is not the language's",
    "too_short": "a side below min_length",
    "too_long": "a side above max_length",
    "length_ratio": "a side more than max_ratio times as long as the other",
    "duplicate": "the same as an earlier example",
    "near_duplicate": "the same but for case, punctuation, spaces and, in pairs, digits",
}
"""Why an example is dropped, in the order of the checks; the first that finds something counts."""

# C1 controls, what a decoder puts in place of bytes it cannot read, private use. The readers refuse
# the other control characters or make them spaces.
_CONTROL = re.compile("[\x80-\x9f\ufffd\ue000-\uf8ff]")


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Which examples of a source are dropped; see :data:`REASONS`.

    A *pair* is an example with a target and without an answer; ``identical`` and ``max_ratio`` look
    at pairs alone. All checks see the text before it is put into a template.

    Raises:
        ConfigError: A setting is out of range.
    """

    empty: bool = True
    """Drop what has a side without any letter or digit."""

    control_characters: bool = True
    """Drop what holds control, replacement or private-use characters."""

    identical: bool = True
    """Drop pairs whose sides are the same but for case, unless the language is English."""

    min_script_share: float | None = 0.5
    """Least share of a text's letters, 0 to 1, in the script that the language is usually written
    in, or that its tag names (``sr-Latn``); None for any script."""

    min_length: int | None = None
    """Least tokens of either side; None for no limit."""

    max_length: int | None = None
    """Most tokens of either side; None for no limit."""

    max_ratio: float | None = 9.0
    """Most times that one side of a pair is as long as the other; None for no limit."""

    duplicates: Literal["near", "exact", "keep"] = "near"
    """Which repetitions in a language are dropped. Near ones are the same but for case,
    punctuation, spaces and, in pairs, digits."""

    encoder: str | None = None
    """Model whose tokenizer counts texts, and both sides for ``max_ratio``: folder, hub id or name
    of an embedded model. None for that of ``llm``; without either, characters are counted."""

    llm: str | None = None
    """Model whose tokenizer counts targets; None for that of ``encoder``."""

    bad_rows: Literal["refuse", "skip"] = "refuse"
    """Whether a row that cannot be read is an error."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, low, high in (
            ("min_script_share", 0, 1),
            ("min_length", 1, float("inf")),
            ("max_length", 1, float("inf")),
            ("max_ratio", 1, float("inf")),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                limits = f"{low} to {high}" if high == 1 else f"at least {low}"
                raise ConfigError(f"{name} is {value}; expected {limits}")


class Cleaner:
    """Judge the examples of a source in their order.

    What is remembered of an example is one number of 64 bits, or two for near duplicates: some 100
    bytes of memory each.

    Args:
        settings: Which checks.

    Attributes:
        dropped: How many, by reason.

    Raises:
        ConfigError: A tokenizer cannot be loaded.
    """

    def __init__(self, settings: Cleaning) -> None:
        """Load the tokenizers."""
        self.settings = settings
        self._count_text = counter(settings.encoder or settings.llm)
        self._count_target = counter(settings.llm or settings.encoder)
        self.dropped: Counter[str] = Counter()
        self._seen: set[int] = set()
        self._seen_nearly: set[int] = set()

    def reason(self, example: Example) -> str | None:
        """Why an example is dropped, a key of :data:`REASONS`; None if it is kept."""
        checks = (self._characters, self._script, self._lengths, self._repetition)
        found = next((found for check in checks if (found := check(example))), None)
        if found is not None:
            self.dropped[found] += 1
        return found

    def _characters(self, example: Example) -> str | None:
        settings, sides = self.settings, _sides(example)
        if settings.empty and not all(contents(side) for side in sides):
            return "empty"
        if settings.control_characters and any(map(_CONTROL.search, sides)):
            return "control_character"
        if settings.identical and _is_pair(example) and example.language.split("-")[0] != "en":
            text, target = (side.strip().casefold() for side in sides)
            return "identical" if text == target else None
        return None

    def _script(self, example: Example) -> str | None:
        least = self.settings.min_script_share
        if least is None or 1 - foreign_share(example.text, example.language) >= least:
            return None
        return "wrong_script"

    def _lengths(self, example: Example) -> str | None:
        settings = self.settings
        if settings.min_length is not None or settings.max_length is not None:
            lengths = [self._count_text(example.text)]
            lengths += [self._count_target(example.target)] if example.target else []
            if min(lengths) < (settings.min_length or 0):
                return "too_short"
            if max(lengths) > (settings.max_length or float("inf")):
                return "too_long"
        if settings.max_ratio is not None and _is_pair(example):
            short, long = sorted(map(self._count_text, _sides(example)))
            return "length_ratio" if long > settings.max_ratio * short else None
        return None

    def _repetition(self, example: Example) -> str | None:
        if self.settings.duplicates == "keep":
            return None
        fields = (example.answer or "", *example.choices, *example.parts.values())
        if _is_repeated(self._seen, example.language, *_sides(example), *fields):
            return "duplicate"
        if self.settings.duplicates == "exact":
            return None
        # A question with other numbers is another question; a pair with others teaches the same.
        forms = [contents(side, digits=not _is_pair(example)) or side for side in _sides(example)]
        forms += map(contents, fields)
        nearly = _is_repeated(self._seen_nearly, example.language, *forms)
        return "near_duplicate" if nearly else None


def _sides(example: Example) -> tuple[str, ...]:
    return (example.text,) if example.target is None else (example.text, example.target)


def _is_pair(example: Example) -> bool:
    return example.target is not None and example.answer is None


def _is_repeated(seen: set[int], *fields: Any) -> bool:
    """Whether the same fields came before; remembers them."""
    digest = blake2b(repr(fields).encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "big")
    if key in seen:
        return True
    seen.add(key)
    return False
