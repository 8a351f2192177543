"""A conversation: who answers, what is remembered, and what the models are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factories import make_model, make_processor
from layalign.chat_format import chat_prompt_template
from layalign.errors import ConfigError, DataError
from layalign.generation import Chat, generate
from layalign.processing import LayAlignProcessor

FORMAT = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} , {% endfor %}"
    "{% if add_generation_prompt %}answer :{% endif %}"
)


@pytest.fixture
def chatting(tmp_path: Path) -> Path:
    """A checkpoint whose prompt is in its language model's chat format."""
    make_model().save_pretrained(tmp_path, include_backbones=True)
    processor = make_processor()
    processor.tokenizer.chat_template = FORMAT
    processor.prompt_template = chat_prompt_template(processor.tokenizer)
    processor.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that LayAlign's language model is given, as they come."""
    seen: list[str] = []
    encode = LayAlignProcessor.encode

    def spy(self: LayAlignProcessor, text: str, **kwargs: str) -> dict[str, list[int]]:
        seen.append(f"{text} | {kwargs['prompt_template']}")
        return encode(self, text, **kwargs)

    monkeypatch.setattr(LayAlignProcessor, "encode", spy)
    return seen


def test_both_models_answer_as_they_do_alone(tiny_checkpoint: Path) -> None:
    chat = Chat(tiny_checkpoint, max_new_tokens=4)
    (alone,) = generate(tiny_checkpoint, ["vitabu nne"], max_new_tokens=4, base=True)
    pieces: list[str] = []
    assert chat.ask("vitabu nne", stream=pieces.append) == alone["answer"]
    assert "".join(pieces).strip() == alone["answer"].strip()
    chat.base = True
    assert chat.ask(" vitabu nne ") == alone["bare"]
    assert [question for question, _ in chat.history] == ["vitabu nne", "vitabu nne"]


def test_the_language_model_reads_what_was_said(chatting: Path, prompts: list[str]) -> None:
    chat = Chat(chatting, max_new_tokens=3)
    first = chat.ask("nne")
    chat.ask("tatu")
    assert prompts == [
        "nne | user : {question} , answer :",
        f"tatu | user : nne , assistant : {first} , user : {{question}} , answer :",
    ]
    chat.history.clear()
    assert chat.ask("nne") == first


def test_the_oldest_turns_are_forgotten_first(chatting: Path, prompts: list[str]) -> None:
    settings = chatting / "processor_config.json"
    limit = 40
    values = {**json.loads(settings.read_text("utf-8")), "prompt_max_length": limit}
    settings.write_text(json.dumps(values), "utf-8")
    chat = Chat(chatting, max_new_tokens=3)
    for _ in range(6):
        chat.ask("mayai mayai mayai")
    assert 1 < len(chat.history) < 6
    tokenizer = LayAlignProcessor.from_pretrained(chatting).tokenizer
    assert all(len(tokenizer(prompt.split(" | ")[1])["input_ids"]) <= limit for prompt in prompts)
    chat.ask(" ".join(["mayai"] * 50))  # which leaves no room for anything else
    assert len(chat.history) == 1


def test_a_failed_turn_is_not_remembered(tiny_checkpoint: Path) -> None:
    chat = Chat(tiny_checkpoint, max_new_tokens=2)
    with pytest.raises(DataError, match="empty"):
        chat.ask("  ")

    def interrupt(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chat.ask("nne", stream=interrupt)
    assert not chat.history
    assert chat.ask("nne") is not None


def test_a_plain_language_model(tiny_language_model: Path) -> None:
    chat = Chat(tiny_language_model, max_new_tokens=3)
    assert chat.base
    (alone,) = generate(tiny_language_model, ["nne"], max_new_tokens=3)
    assert chat.ask("nne") == alone["answer"]
    with pytest.raises(ConfigError, match="plain language model"):
        chat.base = False
