"""Whatever joins and leaves, every request gets the answer that it gets alone."""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from factories import LANGUAGE_MODELS, SWITCHES, WORDS, make_language_model, make_model, make_processor
from layalign.data import Example
from layalign.errors import ConfigError, DataError
from layalign.eval.loading import make_systems
from layalign.eval.systems import BARE, LAYALIGN, BatchedSystem
from layalign.serve.engine import ClosingError, Engine, Limits, QueueFullError
from layalign.serve.jobs import Job, Piece
from layalign.serve.sampling import Sampling

Systems = dict[str, BatchedSystem]


class Answer:
    """Collects the pieces of one answer."""

    def __init__(self) -> None:
        self.pieces: queue.Queue[Piece] = queue.Queue()
        self.job: Job

    def wait(self) -> Answer:
        self.all = []
        while not self.all or self.all[-1].reason is None:
            self.all.append(self.pieces.get(timeout=20))
        self.last = self.all[-1]
        return self

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.all)

    @property
    def tokens(self) -> list[int]:
        return [piece.chosen.token for piece in self.all if piece.chosen]


def ask(engine: Engine, text: str, system: str = LAYALIGN, **sampling: Any) -> Answer:
    answer = Answer()
    prompt = engine.prompt(system, engine.systems[system]._encode(Example(text=text, language="en")))
    (answer.job,) = engine.submit(prompt, [Sampling(**sampling)], [answer.pieces.put])
    return answer


def questions(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 12))) for _ in range(count)]


def systems_of(model: Any = None, **options: Any) -> Systems:
    model = model or make_model()
    # Without an end every answer is long, so that rows stay together.
    processor = make_processor(prompt_template="{question} the answer is")
    return make_systems(model, processor, **options)


def offline(system: BatchedSystem, texts: list[str]) -> list[str]:
    return [answer.text for answer in system.answer([Example(text=t, language="en") for t in texts])]


@pytest.fixture(scope="module")
def systems() -> Systems:
    return systems_of(max_new_tokens=12)


@pytest.fixture
def engine(systems: Systems) -> Iterator[Engine]:
    with Engine(systems, Limits(max_running=4, max_waiting=40, max_joining=2)) as engine:
        yield engine


def check_against_offline(systems: Systems, count: int = 10, seed: int = 0) -> None:
    texts, chance = questions(count, seed), random.Random(seed)
    limits = Limits(max_running=4, max_joining=2)
    lengths = [chance.randint(1, 12) for _ in texts]
    with Engine(systems, limits) as engine:
        for name, system in systems.items():
            answers = []
            for text, length in zip(texts, lengths, strict=True):
                answers.append(ask(engine, text, name, max_new_tokens=length))
                time.sleep(chance.random() * 0.01)
            for text, length, answer in zip(texts, lengths, answers, strict=True):
                system.max_new_tokens = length
                assert [answer.wait().text] == offline(system, [text])


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral", "gpt_neox", "stablelm"])
def test_answers_are_those_of_offline_generation(family: str) -> None:
    fields = {"eos_token_id": None} if family == "llama" else {}
    check_against_offline(systems_of(make_model(make_language_model(family, **fields))))


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(LANGUAGE_MODELS))
def test_all_families(family: str) -> None:
    check_against_offline(systems_of(make_model(make_language_model(family))), count=20)


@pytest.mark.parametrize("switch", ["adapter none", "aligner none", "everything"])
def test_switches(switch: str) -> None:
    check_against_offline(systems_of(make_model(**SWITCHES[switch])), count=6)


@pytest.mark.slow
@pytest.mark.parametrize("switch", sorted(SWITCHES))
def test_all_switches(switch: str) -> None:
    check_against_offline(systems_of(make_model(**SWITCHES[switch])), count=20)


def test_padding_is_masked_even_where_training_attended_to_it() -> None:
    check_against_offline(systems_of(make_model(mask_encoder_padding=False)), count=6)
