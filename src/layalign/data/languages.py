"""Language tags: check, normalise and name them, with CLDR (``babel``) as the register."""

import difflib
import re
from functools import lru_cache

from babel import Locale
from babel.core import get_global

from layalign.errors import DataError

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?",
    re.IGNORECASE,
)

UNKNOWN_LANGUAGE = "und"
"""BCP-47's tag for text of which the language is not stated."""

# In the register, but the name of no language.
_NO_LANGUAGE = ("mul", UNKNOWN_LANGUAGE, "zxx", "root")


@lru_cache(maxsize=1)
def _english() -> Locale:
    return Locale("en")


@lru_cache(maxsize=1024)
def check_language(tag: str) -> str:
    """Check a BCP-47 language tag and return its usual form.

    Case, ``_`` for ``-`` and superseded codes do not matter: ``"SWH"`` becomes ``"sw"``,
    ``"zh_hant"`` becomes ``"zh-Hant"``, ``"prs"`` (Dari) becomes ``"fa-AF"``.

    Args:
        tag: Language, and if wanted script and region: ``"sw"``, ``"zh-Hant"``, ``"pt-BR"``.

    Raises:
        DataError: CLDR does not know the language, script or region; names the nearest tag.
    """
    match = _TAG.fullmatch(tag.strip().replace("_", "-"))
    if match is None:
        raise _unknown(tag)
    code = match["language"].lower()
    # A superseded code may stand for a language with a script or region: "prs" is "fa_AF".
    language, *implied = str(get_global("language_aliases").get(code, code)).split("_")
    if language not in _english().languages:
        raise _unknown(tag)
    parts = [language]
    script = match["script"] or next((part for part in implied if len(part) == 4), "")
    region = match["region"] or next((part for part in implied if len(part) < 4), "")
    for part, known in (
        (script.title(), _english().scripts),
        (region.upper(), _english().territories),
    ):
        if part and part not in known:
            raise _unknown(tag)
        parts += [part] if part else []
    return "-".join(parts)


def is_language(tag: str) -> bool:
    """Whether :func:`check_language` accepts a tag."""
    try:
        check_language(tag)
    except DataError:
        return False
    return True


def language_name(tag: str) -> str:
    """Return the English name of a language tag: ``"Swahili"``, ``"Portuguese (Brazil)"``.

    Raises:
        DataError: The tag is not one that :func:`check_language` accepts.
    """
    language, *details = check_language(tag).split("-")
    names = {**_english().territories, **_english().scripts}
    suffix = ", ".join(names[detail] for detail in details)
    name = str(_english().languages[language])
    return f"{name} ({suffix})" if suffix else name


def _unknown(tag: str) -> DataError:
    hint = _meant(tag)
    suggestion = f"; did you mean {hint!r} ({language_name(hint)})?" if hint else ""
    return DataError(
        f"unknown language {tag!r}: expected a BCP-47 tag such as 'sw' or 'zh-Hant'{suggestion}"
    )


def _meant(tag: str) -> str | None:
    """Find the tag that was meant: by its first part, an English or a native name, or a slip."""
    wanted = tag.strip().replace("_", "-").lower()
    aliases = get_global("language_aliases")
    codes = [c for c in map(str, _english().languages) if len(c) <= 3 and c not in _NO_LANGUAGE]
    first = wanted.split("-")[0]
    if aliases.get(first, first) in codes:
        return str(aliases.get(first, first))
    if len(wanted) > 3:
        names = {str(_english().languages[code]).lower(): code for code in codes}
        if near := difflib.get_close_matches(wanted, names, n=1, cutoff=0.85):
            return names[near[0]]
        if aliases.get(wanted[:3]) in codes:  # "deutsch": deu is the long code of de
            return str(aliases[wanted[:3]])
    near = difflib.get_close_matches(wanted[:3], codes, n=1, cutoff=0.5)
    return near[0] if near else None
