"""What the models read of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from factories import make_model, make_processor, make_tokenizer
from layalign.chat_format import chat_prompt_template
from layalign.errors import DataError
from layalign.eval.loading import make_systems
from layalign.eval.systems import BARE, LAYALIGN
from layalign.serve.prompts import Reader, Turn, conversation
from serving import make_tiny_systems

CHAT = (
    "{% if messages[0].role == 'assistant' %}{{ raise_exception('roles') }}{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TALK = [
    Turn("system", "be short"),
    Turn("user", "two and two ?"),
    Turn("assistant", "four"),
    Turn("user", "{question} and one ?"),
]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(make_tiny_systems())


def words(reader: Reader, ids: Sequence[int]) -> str:
    return str(reader._systems[LAYALIGN].tokenizer.decode(ids)).removeprefix("<s> ")


def test_a_question_is_read_as_in_offline_generation(reader: Reader) -> None:
    processor = reader._systems[LAYALIGN].processor
    feature = reader.chat(LAYALIGN, [Turn("user", "ana mayai")])
    assert feature == processor.encode("ana mayai")
    bare = reader.chat(BARE, [Turn("user", "ana mayai")])
    assert words(reader, bare["input_ids"]) == "ana mayai the answer is"


@pytest.mark.parametrize("system", [LAYALIGN, BARE])
def test_earlier_turns_are_before_the_question(reader: Reader, system: str) -> None:
    feature = reader.chat(system, TALK[1:])
    expected = "two and two ? the answer is four <unk> <unk> <unk> and one ? the answer is"
    assert words(reader, feature["input_ids"]) == expected
    if system == LAYALIGN:
        last = reader.chat(LAYALIGN, TALK[-1:])
        assert feature["encoder_input_ids"] == last["encoder_input_ids"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "Q: {question}\nA:",
            "be short\nQ: two and two ?\nA: four\nQ: {question} and one ?\nA:",
        ),
        # A cue alone: the question reaches the model through the encoder.
        ("A:", "be short\ntwo and two ?\nA: four\nA:"),
        ("", "be short\ntwo and two ?\nfour\n"),
    ],
)
def test_plain_conversations(template: str, expected: str) -> None:
    assert conversation(make_tokenizer(), template, TALK) == expected


def test_the_chat_format_where_the_prompt_is_in_it() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT
    template = chat_prompt_template(tokenizer)
    talk = "<system>be short</><user>two and two ?</><assistant>four</>"
    expected = f"{talk}<user>{{question}} and one ?</><assistant>"
    assert conversation(tokenizer, template, TALK) == expected
    assert conversation(tokenizer, "{question}\n", TALK).startswith("be short\ntwo")
    with pytest.raises(DataError, match="refuses these messages"):
        conversation(tokenizer, template, [Turn("assistant", "hello"), *TALK])


def test_language_codes_are_used() -> None:
    processor = make_processor(language_codes={"sw": "swh_Latn"})
    reader = Reader(make_systems(make_model(), processor))
    talk = [Turn("user", "nne")]
    assert reader.chat(LAYALIGN, talk, language="SWH")
    for language in (None, "th"):  # never the one of an earlier request
        with pytest.raises(DataError, match=r"has to be told the language|has no code"):
            reader.chat(LAYALIGN, talk, language=language)
    assert reader.chat(BARE, talk)


def test_what_would_be_cut_is_refused() -> None:
    processor = make_processor(prompt_max_length=6, encoder_max_length=9)
    reader = Reader(make_systems(make_model(), processor))
    assert reader.chat(LAYALIGN, [Turn("user", "nne " * 6)])
    with pytest.raises(DataError, match="6 tokens of the prompt"):
        reader.chat(LAYALIGN, [Turn("user", "nne " * 7)])
    with pytest.raises(DataError, match="9 tokens of the encoder"):
        reader.text(LAYALIGN, "nne", encoder_text="nne " * 9)
