# Digits and separators that look like others are what this file is about.
# ruff: noqa: RUF001
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.eval.answers import numbers_equal, parse_choice, parse_number

# First digit of a few of the scripts that write numbers with digits of their own.
ZEROS = {
    "bn": "০",
    "hi": "०",
    "th": "๐",
    "ar": "٠",
    "fa": "۰",
    "my": "၀",
    "te": "౦",
    "wide": "\uff10",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", "12"),
        ("3 * 4 = 12. 12 + 5 = 17.", "17"),
        ("-5", "-5"),
        ("\u22127 degrees", "-7"),
        ("= -3.5", "-3.5"),
        ("(-4)", "-4"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("答案是-5", "-5"),
        ("\u200f-٥", "-5"),
        ("10-5", "5"),
        ("10 - 5", "5"),
        ("5\u20138", "8"),
        ("x-2", "2"),
        ("1,234", "1234"),
        ("1,234.50", "1234.5"),
        ("1 234", "1234"),
        ("1\u202f234\u202f567,89", "1234567.89"),
        ("1.234,5", "1234.5"),
        ("1.234.567", "1234567"),
        ("1'234", "1234"),
        ("12,34,567", "1234567"),
        ("1.234", "1.234"),
        ("0,125", "0.125"),
        ("1234,567", "1234.567"),
        ("3,5", "3.5"),
        (".5", "0.5"),
        ("12.", "12"),
        ("50 %", "50"),
        ("50%", "50"),
        ("15€", "15"),
        ("\\boxed{42}", "42"),
        ("1,2,3", "3"),
        ("1, 2, 3", "3"),
        ("2020.12.31", "31"),
        ("in 2020 100 people", "100"),
        ("007", "7"),
        ("-0", "0"),
        ("١٬٢٣٤٫٥", "1234.5"),
        ("१२,३४,५६७.५", "1234567.5"),
        ("\uff11\uff12\uff0e\uff15", "12.5"),
        ("x\u00b2 = 9", "9"),
        ("3/4", "0.75"),
        ("-3/4", "-0.75"),
        ("1 1/2", "1.5"),
        ("-1 1/2", "-1.5"),
        ("\u0663\u2044\u0664", "0.75"),
        ("1,500 / 3", "500"),
        ("48/2 = 24", "24"),
        ("on 1/2/2020", "2020"),
        ("\\frac{3}{4}", "0.75"),
        ("$-\\dfrac{10}{4}$", "-2.5"),
        ("either 3 or 1/2", "0.5"),
    ],
)
def test_parse_number(text: str, expected: str) -> None:
    assert parse_number(text) == Decimal(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is 12. He has 3 left.", 12),
        ("The answer is: 12\nQuestion: 5 cats", 12),
        ("The answer is:\n\n12", 12),
        ("the ANSWER IS 3 + 5 = 8 apples. 2", 8),
        ("The answer is 4. No, the answer is 5. 6", 5),
        ("work 3 4\n#### 18\n", 18),
        ("Answer: 7, since 1 + 6 = 7. 100", 7),
        ("The answer is unknown. Perhaps 5", 5),
        ("The answer is 1,234.5. Then 6.", Decimal("1234.5")),
        ("2 of 8. The answer is 1/4. 3", Decimal("0.25")),
        ("The answer is 12.5%, of 200", Decimal(200)),
        ("The answer is 12.5 %.", Decimal("12.5")),
    ],
)
def test_final_cue(text: str, expected: Decimal) -> None:
    assert parse_number(text) == expected


@pytest.mark.parametrize(
    "text", ["", "none", "-", "٫", ".", "The answer is", "²", "½", "一二", "5/0"]
)
def test_no_number_is_none(text: str) -> None:
    assert parse_number(text) is None


def test_very_long_number_is_exact() -> None:
    assert parse_number("9" * 6000 + "!") == Decimal("9" * 6000)
    assert parse_number("-" + "9" * 6000) == Decimal("-" + "9" * 6000)


def localise(text: str, zero: str) -> str:
    return "".join(chr(ord(zero) + int(c)) if c.isdigit() else c for c in text)


VALUES = st.decimals(-(10**12), 10**12, allow_nan=False, places=2)
INTEGERS = st.integers(-(10**15), 10**15)


@given(INTEGERS, st.sampled_from([",", " ", "\u00a0", "\u202f", "'", ""]))
def test_grouped_integers(value: int, separator: str) -> None:
    assert parse_number(f"{value:,}".replace(",", separator)) == value


@given(VALUES)
def test_decimals_with_point_and_comma(value: Decimal) -> None:
    assert parse_number(str(value)) == value
    english = f"{value:,}"
    assert parse_number(english) == value
    german = english.translate(str.maketrans(",.", ".,"))
    assert parse_number(german) == value
    assert parse_number(f"So 7 + 1, and the answer is {english}. Done.") == value


@given(INTEGERS, st.integers(1, 10**6))
def test_fractions(top: int, bottom: int) -> None:
    assert parse_number(f"The answer is {top}/{bottom}.") == Decimal(top) / Decimal(bottom)
    halves = parse_number(f"{abs(top)} 1/2")
    assert halves == abs(top) + Decimal("0.5")


@given(INTEGERS, st.sampled_from(sorted(ZEROS.values())))
def test_other_digits(value: int, zero: str) -> None:
    assert parse_number(localise(f"Total: {value}.", zero)) == value


@given(st.text())
def test_any_text_gives_a_finite_number_or_none(text: str) -> None:
    number = parse_number(text)
    assert number is None or number.is_finite()
    assert parse_choice(text, "ABC") in (None, "A", "B", "C")
    assert parse_choice(text, "AB", ("a river", text or "-")) in (None, "A", "B")


def test_numbers_equal() -> None:
    assert numbers_equal(Decimal("12.00"), Decimal(12))
    assert not numbers_equal(Decimal(12), Decimal(-12))
    assert not numbers_equal(None, Decimal(0))
    assert not numbers_equal(None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B) a river", "B"),
        ("\uff22", "B"),
        ("The answer is B.", "B"),
        ("The answer is (C) because A is wrong.", "C"),
        ("B. Because A is wrong.", "B"),
        ("First A, then no, D.", "D"),
        ("I choose option D for this", "D"),
        ("答案是B。", "B"),
        ("A is correct", "A"),
        ("A dog would be happy", None),
        ("ABC", None),
        ("F", None),
        ("", None),
    ],
)
def test_parse_letters(text: str, expected: str | None) -> None:
    assert parse_choice(text, "ABCDE") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Entailment", "entailment"),
        ("not entailment", "not entailment"),
        ("It is a contradiction.", "contradiction"),
        ("This is contradictionary", None),
    ],
)
def test_parse_words(text: str, expected: str | None) -> None:
    labels = ("entailment", "not entailment", "contradiction")
    assert parse_choice(text, labels) == expected


def test_labels_of_other_scripts() -> None:
    assert parse_choice("Ответ: нет.", ("да", "нет")) == "нет"
    assert parse_choice("когда", ("да", "нет")) is None


OPTIONS = ("a river", "the bank", "river bank", "Plan A", "5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a river", "A"),
        ("The bank.", "B"),
        ("It must be the river bank, I think", "C"),
        ("Plan A.", "D"),
        ("The answer is the bank, not a river.", "B"),
        ("5", "E"),
        ("(B) a river", "B"),
        ("the bankers", None),
    ],
)
def test_parse_options(text: str, expected: str | None) -> None:
    assert parse_choice(text, "ABCDE", OPTIONS) == expected


WORDS = st.text("abcdefghij", min_size=2, max_size=8)


@given(st.lists(WORDS, min_size=2, max_size=5, unique=True), st.data())
def test_an_option_means_its_label(options: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(options) - 1))
    labels = "ABCDE"[: len(options)]
    for text in (options[place], options[place].upper() + ".", f"The answer is {options[place]}."):
        assert parse_choice(text, labels, options) == labels[place]
