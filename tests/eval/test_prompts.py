import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.chat_format import QUESTION
from layalign.data import Example
from layalign.data.templates import render
from layalign.errors import ConfigError
from layalign.eval.prompts import Prompt, Template, with_question

EXAMPLE = Example(
    text="what is {question}?",
    language="en",
    choices=("river", "{text}"),
    parts={"premise": "it {rains}", "hypothesis": "it is wet"},
)


def filled(prompt: Prompt) -> str:
    """What a language model reads."""
    return prompt.template.replace(QUESTION, prompt.question, 1)


@pytest.mark.parametrize(
    "template",
    [
        "{question}",
        "Q: {question} A:",
        "P: {premise} H: {hypothesis}\nLabel:",
        "{{x}} {text} {{y}} {choices}{{}}",
        "{choices}",
        "answer:",
        "",
    ],
)
def test_the_language_model_reads_the_rendered_template(template: str) -> None:
    prompt = Template(llm=template).prompt(EXAMPLE, "own")
    assert filled(prompt) == render(template, EXAMPLE)
    assert prompt.text == EXAMPLE.text


def test_only_what_comes_from_the_data_may_be_cut() -> None:
    template = Template(llm="P: {premise} H: {hypothesis}\nLabel:")
    assert template.prompt(EXAMPLE, "") == Prompt(
        text=EXAMPLE.text, question="it {rains} H: it is wet", template="P: {question}\nLabel:"
    )


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_nothing_in_the_data_is_a_template(premise: str, hypothesis: str) -> None:
    parts = {"premise": "{" + premise, "hypothesis": hypothesis + "}"}
    parts = {name: text.translate(_VISIBLE) for name, text in parts.items()}
    example = Example(text="{text}", language="en", parts=parts)
    prompt = Template(llm="{premise} and {hypothesis}.").prompt(example, "")
    assert filled(prompt) == f"{parts['premise']} and {parts['hypothesis']}."


# Example refuses control characters and surrogates.
_VISIBLE = dict.fromkeys([*range(32), 127, *range(55296, 57344)], "x")


def test_the_checkpoints_own_prompt_goes_around_the_encoders_text() -> None:
    prompt = Template(encoder="{premise}!").prompt(EXAMPLE, "own { {question} }")
    assert prompt == Prompt(
        text="it {rains}!", question="it {rains}!", template="own { {question} }"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (Template(llm="Q: {premise}"), "Q: it {rains}"),
        (Template(llm="Label:", encoder="{premise}"), "it {rains}\nLabel:"),
        (Template(llm="", bare="Say: {hypothesis}"), "Say: it is wet"),
        (Template(encoder="{premise}"), "own it {rains}"),
    ],
)
def test_the_bare_model_sees_the_question(template: Template, expected: str) -> None:
    assert filled(template.bare_prompt(EXAMPLE, "own {question}")) == expected


def test_wrong_templates() -> None:
    with pytest.raises(ConfigError, match="not well formed"):
        Template(llm="{question")
    with pytest.raises(ConfigError, match="shows nothing"):
        Template(encoder="text")
    with pytest.raises(ConfigError, match="shows nothing of the question"):
        Template(bare="answer:")
    with pytest.raises(ConfigError, match="story"):
        Template(llm="{story}").prompt(EXAMPLE, "")


def test_with_question() -> None:
    assert with_question("Q: {question} A:") == "Q: {question} A:"
    assert with_question("A:") == "{question}\nA:"
