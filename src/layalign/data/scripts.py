"""Which script a language is written in, and how much of a text is in another one."""

from functools import lru_cache
from typing import Any

from babel.core import get_global

# CLDR's names of writing systems that have several scripts of Unicode, or not one of that name.
_SYSTEMS = {
    "Jpan": ("Hira", "Kana", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Hans": ("Hani", "Bopo"),
    "Hant": ("Hani", "Bopo"),
}


def usual_script(language: str) -> str | None:
    """The ISO 15924 code of the script that a tag names, or CLDR has as the likeliest.

    Args:
        language: In the form of :func:`check_language`.

    Returns:
        Such as ``"Latn"`` for ``"sw"`` and ``"Jpan"`` for ``"ja"``; None if CLDR does not know.
    """
    code, *details = language.split("-")
    if named := next((part for part in details if len(part) == 4), None):
        return named
    likely = get_global("likely_subtags")
    found = likely.get("_".join((code, *details))) or likely.get(code)
    return str(found).split("_")[1] if found else None


def foreign_share(text: str, language: str) -> float:
    """Share of a text's letters, 0 to 1, in scripts other than the language's own.

    0 for a text without letters and where the script is not known. Letters that Unicode has for all
    scripts are the language's own.
    """
    script = usual_script(language)
    foreign = None if script is None else _foreign_letter(script)
    letters = _letter().findall(text)
    if foreign is None or not letters:
        return 0.0
    return len(foreign.findall(text)) / len(letters)


@lru_cache(maxsize=1)
def _letter() -> Any:
    import regex

    return regex.compile(r"\p{L}")


@lru_cache(maxsize=64)
def _foreign_letter(script: str) -> Any:
    """Pattern of a letter that does not belong to a script; None if Unicode has no such script."""
    import regex  # which transformers needs too: Python itself does not know scripts

    names = (*_SYSTEMS.get(script, (script,)), "Common", "Inherited")
    own = "".join(rf"\p{{Script={name}}}" for name in names)
    try:
        return regex.compile(rf"[\p{{L}}--[{own}]]", regex.VERSION1)
    except regex.error:
        return None
