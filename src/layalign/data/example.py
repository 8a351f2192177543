"""The one record that training and evaluation share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from layalign.data.languages import check_language
from layalign.errors import DataError

# Tab, line feed and carriage return are ordinary white space; lone surrogates cannot be encoded.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text in any language, with what a model should make of it.

    A *translation pair* has a ``target`` that is the English text. A *task example* has an
    ``answer`` and, for training, a ``target`` that reasons in English up to that answer.

    Raises:
        DataError: A text is empty or holds control characters, or the language is unknown.
    """

    text: str
    """What the user wrote, in any language: the encoder's input."""

    language: str
    """BCP-47 tag of ``text``, in the form that :func:`check_language` returns."""

    target: str | None = None
    """English text to produce."""

    answer: str | None = None
    """Gold answer: a number as text (``"12"``, ``"-3.5"``), a choice label or a choice."""

    choices: tuple[str, ...] = ()
    """Texts of the options, in the order of their labels A, B, C …"""

    id: str | None = None
    """Examples with the same id are translations of each other."""

    parts: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Named pieces of a structured question, such as ``premise``, that templates may use."""

    def __post_init__(self) -> None:
        """Check the texts and normalise the language tag."""
        for name in ("text", "target", "answer"):
            value = getattr(self, name)
            if value is not None:
                _check_text(name, value)
        for choice in self.choices:
            _check_text("choices", choice)
        for name, part in self.parts.items():
            _check_text(name, part)
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))
        object.__setattr__(self, "language", check_language(self.language))


def _check_text(field: str, value: str) -> None:
    if not value.strip():
        raise DataError(f"{field} is empty; expected some text")
    if bad := _FORBIDDEN.search(value):
        raise DataError(
            f"{field} holds the unusable character U+{ord(bad[0]):04X} at character "
            f"{bad.start() + 1}; remove it"
        )
