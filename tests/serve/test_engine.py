"""Whatever joins and leaves, every request gets the answer that it gets alone."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from factories import LANGUAGE_MODELS, SWITCHES, make_language_model, make_model
from layalign.errors import BackboneError, ConfigError, DataError
from layalign.eval.systems import BARE, LAYALIGN
from layalign.serve.engine import ClosingError, Engine, Limits, QueueFullError
from layalign.serve.jobs import Job
from layalign.serve.lane import Lane
from layalign.serve.rows import check_cache
from serving import GATE, Systems, ask, held, make_tiny_systems, offline, questions, until

LENGTHS = (3, 7)
SMALL = Limits(max_running=3, max_joining=2, max_waiting=20)


@pytest.fixture(scope="module")
def systems() -> Systems:
    return make_tiny_systems()


@pytest.fixture
def ended() -> list[Job]:
    return []


@pytest.fixture
def engine(systems: Systems, ended: list[Job]) -> Iterator[Engine]:
    with Engine(systems, SMALL, on_end=ended.append) as engine:
        yield engine


def check_against_offline(systems: Systems, count: int = 6, batch_size: int = 32) -> None:
    """Questions of both systems that come at random moments, and end at different ones."""
    chance, texts = random.Random(0), questions(count)
    lengths = [chance.choice(LENGTHS) for _ in texts]
    asked = [(text, name, i) for name in systems for i, text in enumerate(texts)]
    chance.shuffle(asked)
    # First, because the models are the engine's as long as it runs.
    expected = {
        (name, n): offline(system, texts, n, batch_size=batch_size)
        for name, system in systems.items()
        for n in LENGTHS
    }
    with Engine(systems, SMALL) as engine:
        answers = []
        for text, name, i in asked:
            answers.append(ask(engine, text, name, max_new_tokens=lengths[i], logprobs=0))
            time.sleep(chance.random() * 0.01)
        for (text, name, i), answer in zip(asked, answers, strict=True):
            assert answer.text == expected[name, lengths[i]][i]
            alone = ask(engine, text, name, max_new_tokens=lengths[i], logprobs=0)
            assert alone.logprobs == pytest.approx(answer.logprobs, abs=1e-3)
    assert len({answer.text for answer in answers}) > 2


@pytest.mark.parametrize("family", ["gemma2", "stablelm"])
def test_answers_are_those_of_offline_generation(family: str) -> None:
    check_against_offline(make_tiny_systems(make_model(family, gate=GATE)))


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.parametrize("family", sorted(LANGUAGE_MODELS))
def test_all_families(family: str) -> None:
    check_against_offline(
        make_tiny_systems(make_model(family, gate=GATE)), count=10
    )  # as many as may wait


@pytest.mark.parametrize("switch", ["adapter none", "everything"])
def test_switches(switch: str) -> None:
    check_against_offline(make_tiny_systems(make_model(gate=GATE, **SWITCHES[switch])))


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.parametrize("switch", sorted(SWITCHES))
def test_all_switches(switch: str) -> None:
    check_against_offline(
        make_tiny_systems(make_model(gate=GATE, **SWITCHES[switch])), count=10
    )  # as many as may wait


def test_padding_is_masked_even_where_training_attended_to_it() -> None:
    check_against_offline(make_tiny_systems(make_model(gate=GATE, mask_encoder_padding=False)))


def test_generation_settings_of_the_language_model_hold() -> None:
    model = make_model(gate=GATE)
    model.generation_config.repetition_penalty = 1.7
    model.generation_config.eos_token_id = [2, *range(40, 50)]
    systems = make_tiny_systems(model)
    check_against_offline(systems, count=3)
    with Engine(systems) as engine:
        reasons = {ask(engine, text, max_new_tokens=9).reason for text in questions(8)}
    assert "stop" in reasons


def test_random_answers_depend_on_their_seed_alone(engine: Engine) -> None:
    settings = {"temperature": 2.0, "top_p": 0.95, "max_new_tokens": 6}
    alone = [ask(engine, "nne tatu", seed=seed, **settings).tokens for seed in (1, 2, 1)]
    assert alone[0] == alone[2] != alone[1]
    crowd = [ask(engine, text, temperature=1.0) for text in questions(3)]
    answers = [ask(engine, "nne tatu", seed=seed, **settings) for seed in (1, 2)]
    assert [answer.tokens for answer in answers] == alone[:2]
    for one in crowd:
        one.job.cancel()


def test_top_p_and_logprobs(engine: Engine) -> None:
    greedy = ask(engine, "nne", max_new_tokens=4, logprobs=3)
    for piece in greedy.wait().pieces:
        assert piece.chosen is not None
        assert piece.chosen.likeliest[0] == (piece.chosen.token, piece.chosen.logprob)
        values = [value for _, value in piece.chosen.likeliest]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
    narrow = ask(engine, "nne", max_new_tokens=4, temperature=1.0, top_p=1e-6)
    assert narrow.tokens == greedy.tokens
    cold = ask(engine, "nne", max_new_tokens=4, temperature=1e-30)
    assert cold.tokens == greedy.tokens


def test_stop_strings(engine: Engine, systems: Systems) -> None:
    whole = ask(engine, "two eggs", max_new_tokens=8).text
    stop = whole[len(whole) // 2 :][:4]
    answer = ask(engine, "two eggs", max_new_tokens=8, stop=("never", stop))
    assert answer.text == whole[: whole.index(stop)]
    assert answer.reason == "stop"


def test_a_full_queue_turns_requests_away_and_keeps_the_others(engine: Engine) -> None:
    with held(engine) as first:
        waiting = [ask(engine, text, max_new_tokens=2) for text in questions(20)]
        with pytest.raises(QueueFullError, match="20 requests are waiting") as refused:
            ask(engine, "nne")
        assert 1 <= refused.value.retry_after <= 60
    assert {answer.reason for answer in [first, *waiting]} == {"length"}


def test_all_answers_of_a_request_or_none(engine: Engine) -> None:
    prompt = engine.prompt(BARE, {"input_ids": [1, 5]})
    from layalign.serve.sampling import Sampling

    with pytest.raises(DataError, match="21 answers are asked for at once"):
        engine.submit([(prompt, Sampling(), print)] * 21)
    with held(engine):
        ask(engine, "nne", max_new_tokens=1)
        with pytest.raises(QueueFullError):
            engine.submit([(prompt, Sampling(), print)] * 20)
        assert engine.waiting == 1


def test_cancelled_requests_leave(engine: Engine, ended: list[Job]) -> None:
    with held(engine) as first:
        waiting = ask(engine, "nne")
        stays = ask(engine, "nne", max_new_tokens=3)
        waiting.job.cancel()
        first.job.cancel()
    assert first.reason == waiting.reason == "cancelled"
    assert stays.reason == "length"
    until(lambda: len(ended) == 3)
    assert engine.running == engine.waiting == 0


def test_calls_wait_their_turn_and_can_be_cancelled(engine: Engine) -> None:
    with held(engine) as first:
        calls = [engine.call(lambda i=i: 6 // i) for i in range(20)]
        with pytest.raises(QueueFullError):
            engine.call(print)
        calls[1].cancel()
    assert [call.result(60) for call in calls[2:4]] == [3, 2]
    with pytest.raises(ZeroDivisionError):
        calls[0].result(60)
    assert first.reason == "length"


def test_answers_that_take_too_long_are_given_up(systems: Systems) -> None:
    with Engine(systems, Limits(timeout=0.05, max_running=1)) as engine:
        with held(engine) as first:
            second = ask(engine, "nne")
            time.sleep(0.1)
        assert (first.reason, second.reason) == ("timeout", "timeout")
        assert second.pieces[-1].error


def test_closing_finishes_what_is_there(systems: Systems) -> None:
    engine = Engine(systems, SMALL)
    with pytest.raises(ClosingError):
        ask(engine, "nne")
    engine.start()
    answers = [ask(engine, text, max_new_tokens=5) for text in questions(8)]
    engine.close()
    assert {answer.reason for answer in answers} == {"length"}
    with pytest.raises(ClosingError, match="shutting down"):
        ask(engine, "nne")


def test_closing_gives_up_what_takes_too_long(systems: Systems) -> None:
    engine = Engine(systems, SMALL)
    engine.start()
    answers = [ask(engine, text, max_new_tokens=60) for text in questions(20)]
    engine.close(timeout=0.01)
    assert {answer.reason for answer in answers} <= {"length", "cancelled"}
    assert answers[-1].reason == "cancelled"


def test_a_model_that_fails_for_one_row_answers_the_others(systems: Systems) -> None:
    """First a prompt, then a token in the middle of an answer, on which the model fails."""
    language_model = systems[BARE].model
    poison: list[int] = []

    def fail(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids")
        if ids is not None and any(token in poison for token in ids.flatten().tolist()):
            raise RuntimeError("out of memory")

    texts = questions(6)
    with Engine(systems, SMALL) as engine:
        expected = [ask(engine, text, BARE, max_new_tokens=6).tokens for text in texts]
        poison.append(expected[0][2])
        handle = language_model.register_forward_pre_hook(fail, with_kwargs=True)
        try:
            answers = [ask(engine, text, BARE, max_new_tokens=6) for text in texts]
            reasons = [answer.reason for answer in answers]
        finally:
            handle.remove()
    assert reasons[0] == "error"
    assert "out of memory" not in answers[0].pieces[-1].error
    for answer, tokens in zip(answers, expected, strict=True):
        touched = answer.reason == "error"
        assert answer.tokens == (tokens[: len(answer.tokens)] if touched else tokens)
        assert touched <= (
            poison[0] in tokens or poison[0] in answer.job.prompt.feature["input_ids"]
        )
    assert "length" in reasons


def test_a_row_that_cannot_be_processed_leaves_the_others_alone(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    expected = ask(engine, "nne", max_new_tokens=4).text
    with held(engine):
        bad, good = ask(engine, "tatu"), ask(engine, "nne", max_new_tokens=4)
        deaf = ask(engine, "mbili")
        bad.job._sampler.choose = lambda logits: 1 / 0  # type: ignore[method-assign]
        deaf.job._listener = lambda piece: 1 / 0  # type: ignore[assignment]
    assert good.text == expected
    assert bad.reason == "error"
    until(lambda: deaf.job.reason is not None)
    assert deaf.job.reason == "cancelled"
    assert "ZeroDivisionError" in caplog.text


def test_output_that_is_not_a_number_is_an_error(engine: Engine) -> None:
    answer = ask(engine, "nne", max_new_tokens=1).wait()
    with pytest.raises(RuntimeError, match="not a number"):
        answer.job._sampler.choose(torch.full((9,), float("nan")))


def test_the_engine_survives_its_own_failure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, ended: list[Job]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Lane, "sweep", lambda *_: 1 / 0)
        with held(engine) as first:
            pass
        first.wait()
    assert ask(engine, "nne", max_new_tokens=2).reason == "length"
    assert engine.running == 0


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"input_ids": [1, 99], "encoder_input_ids": [1]}, "input_ids has the id 99"),
        ({"input_ids": [1], "encoder_input_ids": [-1]}, "encoder_input_ids has the id -1"),
        ({"input_ids": [5] * 4096, "encoder_input_ids": [1]}, "expected 1 to 4096"),
    ],
)
def test_prompts_are_checked_first(engine: Engine, feature: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        engine.prompt(LAYALIGN, feature)


def test_prompt_and_answer_have_to_fit_the_model(engine: Engine) -> None:
    with pytest.raises(DataError, match="there is room for"):
        ask(engine, "nne", max_new_tokens=128)
    answer = ask(engine, "nne")  # as long as there is room: 128 positions
    assert answer.job.max_new_tokens == 128 - answer.job.prompt.length
    assert len(answer.tokens) == answer.job.max_new_tokens
    with pytest.raises(ConfigError, match="max_running is 0"):
        Limits(max_running=0)


def test_caches_of_another_kind_are_refused() -> None:
    from transformers import CONFIG_MAPPING

    check_cache(make_language_model("gemma3_text").config)
    with pytest.raises(BackboneError, match="cache of its own kind"):
        check_cache(CONFIG_MAPPING["qwen3_next"]())
