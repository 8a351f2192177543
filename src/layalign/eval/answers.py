"""Read the answer out of generated text: a number or the label of a choice.

Pure functions on text. What is not there is ``None``, never a default.
"""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

# The last cue counts; what follows it up to the end of its sentence is the answer.
_CUE = re.compile(r"\b(?:final answer|answer)\s*(?:is\b|[:=])\s*:?|####", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)|[。।]")

# Characters that stand for another one in a number, beside the digits.
_SEPARATORS = str.maketrans(
    {
        "\u066b": ".",  # Arabic decimal separator
        "\u066c": ",",  # Arabic thousands separator
        "\uff0e": ".",  # fullwidth
        "\uff0c": ",",
        "\uff0d": "-",
        "\u2019": "'",  # Swiss thousands separator
        "\u00a0": " ",  # spaces that do not break
        "\u2009": " ",
        "\u202f": " ",
        "\u2212": "-",  # minus sign, en dash
        "\u2013": "-",
        "\u2044": "/",  # fraction slash
        "\uff0f": "/",
        "\u200e": None,  # direction marks around signs in right-to-left text
        "\u200f": None,
        "\u061c": None,
    }
)

# A sign is one only where nothing stands before it that it could be subtracted from.
_NUMBER = re.compile(
    r"""
    (?P<sign> (?<![0-9A-Za-z)\]%\-]) - \ ? (?=[$€£¥₹৳]) [$€£¥₹৳]\ ? | (?<![0-9A-Za-z)\]%\-]) -)?
    (?P<digits>
        (?<![0-9]) [1-9][0-9]{0,2} (?:\ [0-9]{3})+ (?:[.,][0-9]+)? (?![0-9])
      | [0-9]+ (?:[.,'][0-9]+)*
      | (?<![\w.]) \.[0-9]+
    )
    """,
    re.VERBOSE,
)

_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")

# How a run of digits and separators is read; the first form that fits all of it counts.
# Each names the thousands separators to drop; a comma that is left is a decimal comma.
_FORMS = (
    (re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?"), ","),
    (re.compile(r"[1-9]\d?(,\d{2})+,\d{3}(\.\d+)?"), ","),  # South Asian: 12,34,567
    (re.compile(r"[1-9]\d{0,2}(\.\d{3})+,\d+"), "."),
    (re.compile(r"[1-9]\d{0,2}(\.\d{3}){2,}"), "."),
    (re.compile(r"[1-9]\d{0,2}('\d{3})+([.,]\d+)?"), "'"),
    (re.compile(r"[1-9]\d{0,2}( \d{3})+([.,]\d+)?"), " "),
    (re.compile(r"\d*([.,]\d+)?"), ""),
)


def parse_number(text: str) -> Decimal | None:
    """Find the number that a text gives as its answer.

    That is the last number after a final cue such as "The answer is", in the same sentence, or
    without such a number the last one of the text. Understood are signs, thousands separators
    (``1,234``, ``1.234,5``, ``1 234``), a decimal point or comma, and the digits of all scripts.
    A single point before three digits is a decimal point, a single comma a thousands separator.
    ``3/4`` and ``1 3/4`` are fractions. Percent signs and units do not matter.

    Returns:
        The exact value, that of a fraction to 28 digits, or ``None`` if the text holds no number.
    """
    text = _plain(text)
    after_cue = _after_cue(text)
    if after_cue is not None and (number := _last_number(after_cue)) is not None:
        return number
    return _last_number(text)


def numbers_equal(found: Decimal | None, gold: Decimal | None) -> bool:
    """Tell whether two parsed numbers have the same value; no number equals nothing."""
    return found is not None and gold is not None and found == gold


def parse_choice(text: str, labels: Sequence[str], options: Sequence[str] = ()) -> str | None:
    """Find the label that a text gives as its answer.

    The first label after the last cue such as "The answer is" counts, else a label with which
    the text begins, else the last one. One-letter labels must stand as such, ``B``, ``(B)``,
    ``B.`` or ``option B``, so that the article in "A dog" is no answer.

    Args:
        text: What the model wrote.
        labels: All labels that could be meant, such as ``("A", "B", "C")``.
        options: What each label stands for. A text that is nothing but an option means its
            label; inside a longer text an option counts, by the same rules, if no label is there.

    Returns:
        The label as it stands in ``labels``, or ``None`` if neither a label nor an option is in
        the text.
    """
    text = unicodedata.normalize("NFKC", text).strip()
    for names in (labels, options):
        for label, name in zip(labels, names):  # noqa: B905  # there may be no options
            if _bare(text) == _bare(name):
                return label
    for names in (labels, options):
        if (found := _find(text, names)) is not None:
            return labels[found]
    return None


def _bare(text: str) -> str:
    """Leave out what does not matter when a text is nothing but a name."""
    return unicodedata.normalize("NFKC", text).casefold().strip().rstrip(".。")


def _find(text: str, names: Sequence[str]) -> int | None:
    """Return the index of the name that a text gives as its answer."""
    patterns = [_label_pattern(name) for name in names]
    after_cue = _after_cue(text)
    if after_cue is not None and (hits := _hits(patterns, after_cue)):
        return min(hits)[1]
    hits = _hits(patterns, text)
    if not hits:
        return None
    begins = len(text[: min(hits)[0]].strip("([*\"' ")) == 0
    return (min(hits) if begins else max(hits))[1]


def _after_cue(text: str) -> str | None:
    """Return the rest of the sentence after the last cue, or None without a cue."""
    cues = list(_CUE.finditer(text))
    if not cues:
        return None
    rest = text[cues[-1].end() :].lstrip()
    return _SENTENCE_END.split(rest, maxsplit=1)[0]


def _plain(text: str) -> str:
    """Write digits and separators of all scripts in ASCII, and fractions with a slash."""
    digits = (str(unicodedata.decimal(char, "")) or char for char in text)
    return _LATEX_FRACTION.sub(r"\1/\2", "".join(digits).translate(_SEPARATORS))


def _last_number(text: str) -> Decimal | None:
    matches = list(_NUMBER.finditer(text))[-4:]
    if not matches:
        return None
    # What stands between the last numbers: "/" makes them a fraction, a second one a date.
    between = [text[a.end() : b.start()] for a, b in pairwise(matches)]
    slashes = [gap.strip() == "/" for gap in between]
    value = _value(matches[-1])
    if slashes[-1:] != [True] or slashes[-2:-1] == [True]:
        return value
    if not value:
        return None  # a division by zero has no value
    fraction = _value(matches[-2]) / value
    is_mixed = between[-2:-1] == [" "] and between[-1] == "/" and 0 < fraction < 1
    if not is_mixed or not matches[-3]["digits"].isdigit() or slashes[-3:-2] == [True]:
        return fraction
    whole = _value(matches[-3])
    return whole - fraction if matches[-3]["sign"] else whole + fraction


def _value(match: re.Match[str]) -> Decimal:
    value = _read_digits(match["digits"])
    # `copy_negate` is exact at any length; unary minus would round.
    return value.copy_negate() if match["sign"] and value else value


def _read_digits(digits: str) -> Decimal:
    for form, thousands in _FORMS:
        if form.fullmatch(digits):
            return Decimal(digits.replace(thousands, "").replace(",", "."))
    return Decimal(re.split(r"[.,']", digits)[-1])  # a list or a date: its last part


def _label_pattern(label: str) -> re.Pattern[str]:
    label = unicodedata.normalize("NFKC", label)
    word = re.escape(label)
    edge = "A-Za-z0-9" if label.isascii() else r"\w"
    standing = rf"(?<![{edge}]){word}(?![{edge}])"
    if len(label) > 1:
        return re.compile(standing, re.IGNORECASE)
    named = rf"\b(?:option|choice|answer)\s+\(?{standing}"
    marked = rf"{standing}(?=\s*(?:$|[\n).:,;!?\]*\"'。।])|\s+(?:is|because)\b)"
    return re.compile(f"{named}|{marked}", re.MULTILINE)


def _hits(patterns: Sequence[re.Pattern[str]], text: str) -> list[tuple[int, int]]:
    """List where labels stand, as (position, index of the label).

    A label inside a longer one ("entailment" in "not entailment") does not count.
    """
    spans = [
        (match.start(), match.end(), index)
        for index, pattern in enumerate(patterns)
        for match in pattern.finditer(text)
    ]
    return [
        (start, index)
        for start, end, index in spans
        if not any(a <= start and end <= b and b - a > end - start for a, b, _ in spans)
    ]
