"""Log-likelihood scoring against one plain forward pass for each choice."""

from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from layalign.data import Example
from layalign.errors import DataError
from layalign.eval.likelihood import ChoiceSystem, continuation_ids, likelihoods
from layalign.eval.prompts import Template
from layalign.eval.systems import BareLLM, BatchedSystem, LayAlignSystem
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor

PROMPT = "{question} answer ="
CHOICES = ("mayai", "vitabu nne sasa", "3 + 4", "a box")


@pytest.fixture
def asked(examples: list[Example]) -> list[Example]:
    return [
        replace(e, choices=CHOICES[: 2 + i % 3], answer="AB"[i % 2]) for i, e in enumerate(examples)
    ]


def plain_layalign(
    model: LayAlignModel, processor: LayAlignProcessor, text: str, continuation: str
) -> tuple[float, int]:
    """Sum the log-probabilities of the continuation's tokens, one after the other."""
    encoder = torch.tensor([processor.encoder_tokenizer(text)["input_ids"]])
    tokens = processor.tokenizer(f"{text} answer = {continuation}", add_special_tokens=False)
    prompt = processor.tokenizer(f"{text} answer =", add_special_tokens=False)["input_ids"]
    ids = tokens["input_ids"]
    with torch.no_grad():
        logits = model(encoder_input_ids=encoder, input_ids=torch.tensor([ids])).logits[0]
    return total(logits[-len(ids) - 1 :], ids, len(prompt))


def plain_bare(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, continuation: str
) -> tuple[float, int]:
    prompt = tokenizer(f"{text} answer =", add_special_tokens=False)["input_ids"]
    ids = tokenizer(f"{text} answer = {continuation}", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[1, *ids]])).logits[0]
    return total(logits, ids, len(prompt))


def total(logits: torch.Tensor, ids: list[int], prompt: int) -> tuple[float, int]:
    """Logits begin one place before the first id."""
    found = 0.0
    for place in range(prompt, len(ids)):
        probabilities = logits[place].double().exp() / logits[place].double().exp().sum()
        found += float(probabilities[ids[place]].log())
    return found, len(ids) - prompt


@pytest.fixture(params=["layalign", "bare"])
def system(
    request: pytest.FixtureRequest, model: LayAlignModel, processor: LayAlignProcessor
) -> BatchedSystem:
    template = Template(llm=PROMPT)
    if request.param == "layalign":
        return LayAlignSystem(model, processor, template=template)
    return BareLLM(model.language_model, processor.tokenizer, template=template)


def restated(system: BatchedSystem, text: str, continuation: str) -> tuple[float, int]:
    if isinstance(system, LayAlignSystem):
        return plain_layalign(system.model, system.processor, text, continuation)
    return plain_bare(system.model, system.tokenizer, text, continuation)  # type: ignore[arg-type]


def test_equals_one_forward_for_each_choice(system: BatchedSystem, asked: list[Example]) -> None:
    rows = [(e, choice) for e in asked for choice in e.choices]
    with system.evaluating():
        found = system.loglikelihoods([system.continue_prompt(e, f" {c}") for e, c in rows])
    for (example, choice), one in zip(rows, found, strict=True):
        expected, tokens = restated(system, example.text, choice)
        assert one.logprob == pytest.approx(expected, abs=1e-4)
        assert one.tokens == tokens


@pytest.mark.parametrize("normalise", ["none", "tokens", "bytes"])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_the_likeliest_choice(
    system: BatchedSystem, asked: list[Example], normalise: str, batch_size: int
) -> None:
    seen: list[int] = []
    chooser = ChoiceSystem(system, " {choice}", normalise)  # type: ignore[arg-type]
    answers = chooser.answer(asked, batch_size=batch_size, on_batch=seen.extend)
    assert sorted(seen) == list(range(len(asked)))
    for example, answer in zip(asked, answers, strict=True):
        scores = []
        for choice in example.choices:
            logprob, tokens = restated(system, example.text, choice)
            by = {"none": 1, "tokens": tokens, "bytes": len(f" {choice}")}[normalise]
            scores.append(logprob / by)
        assert answer == ("ABCD"[scores.index(max(scores))], 0)


def test_answers_are_of_the_kind_of_the_gold_answer(
    system: BatchedSystem, examples: list[Example]
) -> None:
    words = [replace(e, choices=CHOICES, answer="mayai") for e in examples]
    letters = [replace(e, choices=CHOICES, answer="A") for e in examples]
    chooser = ChoiceSystem(system, " {choice}")
    places = ["ABCD".index(answer.text) for answer in chooser.answer(letters)]
    assert [answer.text for answer in chooser.answer(words)] == [CHOICES[place] for place in places]


def test_examples_need_choices(system: BatchedSystem, examples: list[Example]) -> None:
    with pytest.raises(DataError, match="metric 'choice' needs choices"):
        ChoiceSystem(system).answer(examples)
    assert ChoiceSystem(system).answer([]) == []


def test_greedy() -> None:
    logits = torch.tensor([[[0.0, 5.0], [5.0, 0.0]], [[0.0, 5.0], [5.0, 0.0]]])
    found = likelihoods(logits, torch.tensor([[1, 0], [-100, 1]]))
    assert [one.greedy for one in found] == [True, False]
    assert [one.tokens for one in found] == [2, 1]


def test_continuations_are_tokenised_in_their_place(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = continuation_ids(tokenizer, "ana mayai", " 12 nne")
    assert tokenizer.convert_ids_to_tokens(ids) == ["1", "2", "nne"]
    assert continuation_ids(tokenizer, "", "nne") == ids[-1:]
