"""What the training tests share: the same tiny model again and again, and a few examples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from transformers import PreTrainedModel

from factories import make_language_model, make_model, make_processor
from layalign.data import Example
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor

new_composite = partial(make_model, gate=0.0)


@pytest.fixture
def new_model() -> Callable[[], LayAlignModel]:
    return new_composite


@pytest.fixture
def model() -> LayAlignModel:
    return new_composite()


@pytest.fixture
def new_language_model() -> Callable[[], PreTrainedModel]:
    return make_language_model


@pytest.fixture
def processor() -> LayAlignProcessor:
    return make_processor(prompt_template="{question} = the answer is")


def make_examples(count: int, *, language: str = "sw") -> list[Example]:
    """Examples of different lengths, in a fixed order."""
    source = {"sw": ["tatu", "mbili", "nne", "mayai"], "en": ["3", "2", "4", "eggs"]}
    english = ["three", "two", "four", "eggs"]
    examples = []
    for i in range(count):
        picked = [(i * 7 + j * j) % 4 for j in range(1 + i % 5)]
        text, target = (" ".join(w[k] for k in picked) for w in (source[language], english))
        examples.append(Example(text=text, language=language, target=target, id=str(i)))
    return examples


@pytest.fixture
def examples() -> list[Example]:
    return make_examples(22)


@pytest.fixture
def dev_examples() -> list[Example]:
    return make_examples(5) + make_examples(4, language="en")
