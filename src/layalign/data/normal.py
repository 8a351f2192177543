"""The normal form in which texts are compared: letters and digits only."""

import unicodedata


class _Kept(dict[int, int | None]):
    """A table for ``str.translate`` that finds out once about every character."""

    def __init__(self, categories: str) -> None:
        super().__init__()
        self.categories = categories

    def __missing__(self, code: int) -> int | None:
        kept = unicodedata.category(chr(code))[0] in self.categories
        self[code] = code if kept else None
        return self[code]


# Marks are vowels in many scripts.
_LETTERS, _LETTERS_AND_DIGITS = _Kept("LM"), _Kept("LMN")


def contents(text: str, *, digits: bool = True) -> str:
    """What is left of a text without case, punctuation, spaces and, if wanted, digits.

    Compatibility forms are made one (NFKC), such as digits and letters of full width.
    """
    table = _LETTERS_AND_DIGITS if digits else _LETTERS
    return unicodedata.normalize("NFKC", text).casefold().translate(table)
