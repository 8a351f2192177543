import math

import pytest

from layalign.data import Example
from layalign.errors import ConfigError, DataError
from layalign.eval.metrics import macro_average, score, wilson_interval


def example(answer: str | None, *choices: str, target: str | None = None) -> Example:
    return Example(text="q", language="sw", answer=answer, choices=choices, target=target, id="7")


@pytest.mark.parametrize(
    ("output", "gold", "parsed", "correct"),
    [
        ("So 5.", "5", "5", True),
        ("5.0", "5", "5.0", True),
        ("-5", "5", "-5", False),
        ("no idea", "0", None, False),
        ("1,000", "1000", "1000", True),
    ],
)
def test_number(output: str, gold: str, parsed: str | None, correct: bool) -> None:
    result = score(output, example(gold), "number")
    assert (result.parsed, result.correct) == (parsed, correct)


def test_choice_by_letter_and_by_text() -> None:
    assert score("B.", example("B", "river", "bank"), "choice").correct
    assert not score("C.", example("B", "river", "bank"), "choice").correct
    assert score("Neutral!", example("neutral", "neutral", "contradiction"), "choice").correct
    assert score("hm", example("B", "river", "bank"), "choice").parsed is None


def test_exact() -> None:
    assert score(" Hello  World", example(None, target="hello world"), "exact").correct
    assert score("yes", example("Yes", target="no"), "exact").correct
    assert score(" ", example("Yes"), "exact").parsed is None


def test_gold_must_fit_the_metric() -> None:
    with pytest.raises(DataError, match=r"example '7' \(sw\) has no answer"):
        score("5", example(None), "number")
    with pytest.raises(DataError, match="the answer 'five'; metric 'number' needs a number"):
        score("5", example("five"), "number")
    with pytest.raises(DataError, match="the answer 'C' among the choices"):
        score("C", example("C", "river", "bank"), "choice")
    with pytest.raises(ConfigError, match="unknown metric 'f1'"):
        score("5", example("5"), "f1")  # type: ignore[arg-type]


@pytest.mark.parametrize(("correct", "items"), [(0, 1), (1, 1), (0, 250), (137, 250), (250, 250)])
def test_wilson_ends_are_1_96_standard_errors_away(correct: int, items: int) -> None:
    interval = wilson_interval(correct, items)
    assert interval.value == pytest.approx(100 * correct / items)
    assert 0 <= interval.low <= interval.value <= interval.high <= 100
    for end in (interval.low / 100, interval.high / 100):
        standard_error = math.sqrt(end * (1 - end) / items)
        distance = abs(end - correct / items)
        assert distance == pytest.approx(1.959964 * standard_error, abs=1e-6)


def test_wilson_refuses_nonsense() -> None:
    for correct, items in [(0, 0), (3, 2), (-1, 2)]:
        with pytest.raises(ValueError, match="expected 0 <="):
            wilson_interval(correct, items)


def test_macro_average_weighs_languages_equally() -> None:
    values = {"sw": {"a": 1.0}, "th": {"a": 0.0, "b": 0.0, "c": 0.0}}
    assert macro_average(values).value == pytest.approx(50)


def test_macro_average_is_reproducible() -> None:
    values = {"sw": {str(i): float(i % 3 == 0) for i in range(60)}}
    assert macro_average(values) == macro_average(values)
    assert macro_average(values) != macro_average(values, seed=1)


def test_bootstrap_resamples_ids_not_rows() -> None:
    column = {str(i): float(i % 2) for i in range(100)}
    one = macro_average({"sw": column})
    alike = macro_average(dict.fromkeys("abcd", column))
    # Four copies of the same answers say no more than one copy does.
    assert (alike.low, alike.high) == pytest.approx((one.low, one.high))
    own_ids = {tag: {tag + key: v for key, v in column.items()} for tag in "abcd"}
    apart = macro_average(own_ids)
    assert apart.high - apart.low < 0.75 * (one.high - one.low)
    # The binomial standard error of 100 items at 50 % is 5 points.
    assert one.high - one.low == pytest.approx(4 * 5, abs=2)


def test_macro_average_of_paired_differences() -> None:
    always_better = {str(i): 1.0 for i in range(20)}
    gain = macro_average({"sw": always_better})
    assert (gain.value, gain.low, gain.high) == (100, 100, 100)


def test_macro_average_with_tiny_languages() -> None:
    average = macro_average({"sw": {"a": 1.0}, "th": {"b": 0.0}})
    assert average.value == 50
    assert (average.low, average.high) == (0, 100)


def test_macro_average_refuses_nothing() -> None:
    for values in ({}, {"sw": {}}):
        with pytest.raises(ValueError, match="at least one item"):
            macro_average(values)
