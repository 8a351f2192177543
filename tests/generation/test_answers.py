"""Answers from a saved checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from layalign import generate
from layalign.errors import ConfigError, DataError

TEXTS = ["ana mayai tatu", "vitabu nne", "2 + 3"]


def test_same_answers_in_any_batch(tiny_checkpoint: Path) -> None:
    together = generate(tiny_checkpoint, TEXTS, max_new_tokens=4)
    alone = [generate(tiny_checkpoint, [text], max_new_tokens=4)[0] for text in TEXTS]
    assert together == alone
    assert [answer["text"] for answer in together] == TEXTS


def test_the_bare_model_answers_beside(tiny_checkpoint: Path) -> None:
    answers = generate(tiny_checkpoint, TEXTS, max_new_tokens=4, base=True)
    assert all(set(answer) == {"text", "answer", "bare"} for answer in answers)
    without = generate(tiny_checkpoint, TEXTS, max_new_tokens=4)
    assert [answer["answer"] for answer in answers] == [answer["answer"] for answer in without]


def test_streaming_gives_the_same_text_in_order(tiny_checkpoint: Path) -> None:
    pieces: list[str] = []
    answers = generate(tiny_checkpoint, TEXTS, max_new_tokens=4, base=True, stream=pieces.append)
    lines = [answer[name].strip() for answer in answers for name in ("answer", "bare")]
    assert [line.strip() for line in "".join(pieces).split("\n")[:-1]] == lines


def test_decoding_options(tiny_checkpoint: Path) -> None:
    options = {"max_new_tokens": 4}
    greedy = generate(tiny_checkpoint, TEXTS[:1], **options)
    cold = generate(tiny_checkpoint, TEXTS[:1], temperature=1e-4, **options)
    assert cold == greedy
    assert generate(tiny_checkpoint, TEXTS[:1], num_beams=2, **options)


def test_wrong_use(tiny_checkpoint: Path) -> None:
    with pytest.raises(DataError, match="no text"):
        generate(tiny_checkpoint, [])
    for name, value in {"temperature": 0.0, "num_beams": 0}.items():
        with pytest.raises(ConfigError, match=f"{name} is {value}; expected more than 0"):
            generate(tiny_checkpoint, TEXTS, **{name: value})
    with pytest.raises(ConfigError, match="num_beams is 2"):
        generate(tiny_checkpoint, TEXTS, num_beams=2, stream=print)


def test_a_plain_language_model(tiny_language_model: Path) -> None:
    answers = generate(tiny_language_model, TEXTS, max_new_tokens=4)
    assert all(set(answer) == {"text", "answer"} for answer in answers)
    assert generate(tiny_language_model, TEXTS, max_new_tokens=4, base=True) == answers
    pieces: list[str] = []
    generate(tiny_language_model, TEXTS, max_new_tokens=4, stream=pieces.append)
    assert [line.strip() for line in "".join(pieces).split("\n")[:-1]] == [
        answer["answer"].strip() for answer in answers
    ]
