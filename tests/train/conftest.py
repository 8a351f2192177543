"""What the training tests share: the same tiny model again and again, and a few examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest
from transformers import PreTrainedModel

from factories import make_language_model, make_model, make_processor, save_backbones
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


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Folders of two tiny models with their tokenizers."""
    root = tmp_path_factory.mktemp("backbones")
    save_backbones(root)
    return root


@pytest.fixture
def values(backbones, tmp_path):
    """A recipe that uses everything, as plain values."""
    words = ["tatu", "mbili", "nne"]
    rows = [
        {
            "id": str(i),
            "text": " ".join([*words * 2, "mayai"][i % 3 : i % 3 + 2 + i % 4]),
            "language": "sw" if i % 2 else "en",
            "target": f"the answer is {i % 10}",
            "answer": str(i % 10),
        }
        for i in range(20)
    ]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": str(data)}
    stage = {"lr": 1e-2, "gate_lr": 1e-1, "batch_size": 4, "epochs": 2, "eval_every": 2}
    data = {"train": [source], "dev": [{**source, "limit": 2}]}
    return {
        "output_dir": str(tmp_path / "out"),
        "model": {
            "encoder": str(backbones / "encoder"),
            "language_model": str(backbones / "language_model"),
            "init": "lexical",
            "lexical": {"updates": 5, "batch_size": 8},
            "aligner": "mlp",
        },
        "processor": {"prompt_template": "{question} =", "split_digits": True},
        "data": {
            "finetune": {"train": [{**source, "languages": ["en"]}]},
            "translation": data,
            "task": data,
            "evaluation": [{**source, "limit": 3}],
            "on_leak": "warn",
        },
        "stage": {"finetune": stage, "translation": stage, "task": {**stage, "text_input": False}},
        "evaluation": {"max_new_tokens": 4},
    }


@pytest.fixture
def plain_values(values):
    """A recipe that only fine-tunes, in two languages."""
    values["model"].pop("encoder")
    values["stage"] = {"finetune": values["stage"]["finetune"]}
    source = values["data"]["evaluation"][0]["path"]
    values["data"]["finetune"] = {"train": [{"path": source}]}
    return values
