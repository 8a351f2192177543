"""A few examples, tiny random models, and a system that needs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import factories
from layalign.data import Example
from layalign.eval.results import Answer
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor


class FakeSystem:
    """Answers with what a function makes of the example, and remembers the calls."""

    def __init__(self, reply: Callable[[Example], str]) -> None:
        self.reply = reply
        self.calls: list[list[Example]] = []

    def answer(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = 32,
        on_batch: Callable[[Mapping[int, Answer]], None] | None = None,
    ) -> list[Answer]:
        self.calls.append(list(examples))
        texts = [self.reply(example) for example in examples]
        answers = [Answer(text, len(text)) for text in texts]
        for start in range(0, len(examples), batch_size):
            if on_batch is not None:
                on_batch(dict(enumerate(answers[start : start + batch_size], start)))
        return answers


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage collection after every batch takes longer than the tiny models."""
    monkeypatch.setattr("layalign.eval.batching.return_freed_memory", lambda: None)


@pytest.fixture
def fake_system() -> type[FakeSystem]:
    return FakeSystem


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return factories.make_tokenizer()


@pytest.fixture
def language_model() -> PreTrainedModel:
    return factories.make_language_model()


@pytest.fixture
def model(language_model: PreTrainedModel) -> LayAlignModel:
    return factories.make_model(language_model, seed=3)  # whose answers differ


@pytest.fixture
def processor() -> LayAlignProcessor:
    return factories.make_processor(prompt_template="{question} answer =")


@pytest.fixture
def examples() -> list[Example]:
    texts = ["mayai", "ana vitabu nne sasa", "tatu ngapi", "bei gani ? 12 shilingi", "kiasi"]
    texts += ["jumla yake ni mbili", "12 + 3 = ?"]
    return [Example(text=text, language="sw", answer=str(i)) for i, text in enumerate(texts)]
