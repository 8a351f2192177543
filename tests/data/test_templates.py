import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.data import Example, render
from layalign.data.templates import check_template
from layalign.errors import ConfigError

CHOICE = Example(text="Why?", language="en", choices=("x", "y"), parts={"stem": "S"})


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{text} / {question}", "Why? / Why?"),
        ("{stem}\n{choices}\nAnswer ({label_list}):", "S\nA. x\nB. y\nAnswer (A, B):"),
        ("{{text}} {text}", "{text} Why?"),
        ("no gap", "no gap"),
        ("", ""),
    ],
)
def test_render(template: str, expected: str) -> None:
    assert render(template, CHOICE) == expected


def test_without_choices() -> None:
    assert render("[{choices}][{label_list}]", Example(text="a", language="en")) == "[][]"


def test_a_part_named_question_goes_before_the_text() -> None:
    example = Example(text="It rained.", language="en", parts={"question": "cause"})
    assert render("{text} What was the {question}?", example) == "It rained. What was the cause?"


@given(st.text(st.characters(codec="utf-8", categories=["L", "P", "S", "Zs"])).filter(str.strip))
def test_braces_in_the_data_mean_nothing(text: str) -> None:
    text = "{stem} {0} }} {{" + text
    example = Example(text=text, language="en", choices=(text,), parts={"stem": text})
    assert render("{text}|{choices}|{stem}", example) == f"{text}|A. {text}|{text}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{premise}", "unknown name 'premise'; expected one of choices, label_list, question"),
        ("{choice}", "did you mean 'choices'?"),
        ("{}", "unknown name ''"),
        ("{0}", "unknown name '0'"),
        ("{text.__class__}", "unknown name 'text.__class__'"),
        ("{text[0]}", "unknown name 'text[0]'"),
        ("{text!r}", "unknown name 'text!r'"),
        ("{text:>5}", "unknown name 'text:>5'"),
        ("{text", "is not valid"),
        ("text}", "is not valid"),
    ],
)
def test_bad_templates(template: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        render(template, CHOICE)
    assert message in str(error.value)
    with pytest.raises(ConfigError):
        check_template(template, ("stem",))


def test_check_knows_the_parts() -> None:
    check_template("{text} {question} {choices} {label_list} {premise}", ("premise",))
