"""Prompts in a model's own chat format, and what was said before."""

from __future__ import annotations

import pytest

from factories import make_tokenizer
from layalign.chat_format import chat_prompt_template, continued
from layalign.errors import ConfigError

FORMAT = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}answer:{% endif %}"
)
WITHOUT_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + FORMAT
)
HISTORY = [("nne", "four"), ("tatu", "three")]


def test_chat_template() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = FORMAT
    assert chat_prompt_template(tokenizer) == "<s>user: {question}\nanswer:"
    assert chat_prompt_template(tokenizer, system="S").startswith("<s>system: S\nuser")
    adds_bos = make_tokenizer(specials=True)
    adds_bos.chat_template = FORMAT
    assert chat_prompt_template(adds_bos) == "user: {question}\nanswer:"
    with pytest.raises(ConfigError, match="no chat template"):
        chat_prompt_template(make_tokenizer())


@pytest.mark.parametrize("system", [None, "", "Be short."])
def test_earlier_turns_come_before_the_question_and_after_the_system(system: str | None) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = FORMAT
    own = chat_prompt_template(tokenizer, system=system)
    found = continued(tokenizer, own, HISTORY)
    start, end = own.split("user: ")
    turns = "user: nne\nassistant: four\nuser: tatu\nassistant: three\n"
    assert found == f"{start}{turns}user: {end}"
    assert continued(tokenizer, own, []) == own


def test_a_question_is_not_put_into_an_earlier_turn() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = FORMAT
    found = continued(tokenizer, chat_prompt_template(tokenizer), [("{question}?", "{question}")])
    assert found.endswith("user: {question}\nanswer:")
    assert found.count("{question}") == 1


@pytest.mark.parametrize("chat_template", [None, FORMAT, WITHOUT_SYSTEM])
def test_other_prompts_have_no_place_for_turns(chat_template: str | None) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = chat_template
    for own in ("{question}\n", "the answer is", ""):
        assert continued(tokenizer, own, HISTORY) == own


def test_a_format_without_system() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = WITHOUT_SYSTEM
    found = continued(tokenizer, chat_prompt_template(tokenizer), HISTORY)
    assert found.count("user: ") == 3


def test_a_prompt_is_the_same_on_every_day() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
        "{% endif %}Today is {{ date_string }}.\n" + FORMAT
    )
    assert chat_prompt_template(tokenizer).startswith("Today is 26 Jul 2024.\n")
