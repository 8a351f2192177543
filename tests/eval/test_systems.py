import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import factories
from layalign.data import Example
from layalign.errors import ConfigError
from layalign.eval.decoding import evaluation_mode, until_end, until_stop
from layalign.eval.systems import BareLLM, LayAlignSystem
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor

NEW = 8  # tokens


@pytest.mark.parametrize("template", ["", "answer =", "has {question} answer ="])
def test_layalign_batches_equal_one_by_one(
    model: LayAlignModel, processor: LayAlignProcessor, examples: list[Example], template: str
) -> None:
    system = LayAlignSystem(model, processor, prompt_template=template, max_new_tokens=NEW)
    batched = system.answer(examples, batch_size=4)
    assert batched == [system.answer([example])[0] for example in examples]
    assert len(set(batched)) > 1


def test_layalign_template_defaults_to_the_processors(
    model: LayAlignModel, processor: LayAlignProcessor, examples: list[Example]
) -> None:
    default = LayAlignSystem(model, processor, max_new_tokens=NEW)
    template = processor.prompt_template
    named = LayAlignSystem(model, processor, prompt_template=template, max_new_tokens=NEW)
    assert default.answer(examples) == named.answer(examples)


@pytest.mark.parametrize("bos", [1, None])
def test_bare_llm_equals_plain_greedy_decoding(
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[Example],
    bos: int | None,
) -> None:
    language_model.config.bos_token_id = bos
    texts = [f"{example.text} answer =" for example in examples]
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    prompts = [[*([bos] if bos else []), *ids] for ids in prompts]
    # An id that this model does produce ends a row, so that lengths differ.
    ends = decode_plainly(language_model, prompts[0], -1)[2]
    template, extra = "{question} answer =", {"eos_token_id": ends}
    system = BareLLM(
        language_model, tokenizer, prompt_template=template, max_new_tokens=NEW, generation=extra
    )
    rows = [decode_plainly(language_model, prompt, ends) for prompt in prompts]
    assert system.answer(examples, batch_size=4) == [
        (tokenizer.decode(row, skip_special_tokens=True), len(row)) for row in rows
    ]
    assert len(set(map(len, rows))) > 1


def decode_plainly(
    model: PreTrainedModel, prompt: list[int], ends: int, *, penalty: float = 1.0
) -> list[int]:
    new: list[int] = []
    while len(new) < NEW and ends not in new:
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([prompt + new])).logits[0, -1]
        for token in set(new):
            scores[token] *= penalty if scores[token] < 0 else 1 / penalty
        new.append(int(scores.argmax()))
    return new


@pytest.mark.parametrize("penalty", [1.0, 3.0])
def test_a_penalty_on_repetition_counts_the_answer_alone(
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[Example],
    penalty: float,
) -> None:
    language_model.generation_config.repetition_penalty = penalty
    system = BareLLM(language_model, tokenizer, prompt_template="{question}", max_new_tokens=NEW)
    prompts = [system.feature(example.text)["input_ids"] for example in examples]
    rows = [decode_plainly(language_model, prompt, 2, penalty=penalty) for prompt in prompts]
    found = [answer.text for answer in system.answer(examples, batch_size=4)]
    assert found == tokenizer.batch_decode(rows, skip_special_tokens=True)
    repeats = [row for row in rows if len(set(row)) < len(row)]
    assert repeats if penalty == 1 else not repeats


def test_with_a_penalty_too_batches_equal_one_by_one(
    model: LayAlignModel, processor: LayAlignProcessor, examples: list[Example]
) -> None:
    system = LayAlignSystem(model, processor, max_new_tokens=NEW)
    free = system.answer(examples)
    model.generation_config.repetition_penalty = 3.0
    batched = system.answer(examples, batch_size=7)
    assert batched == [system.answer([example])[0] for example in examples]
    assert batched != free


@pytest.mark.parametrize("kind", ["layalign", "bare"])
def test_the_output_head_reads_no_slice(
    kind: str, model: LayAlignModel, processor: LayAlignProcessor, examples: list[Example]
) -> None:
    """PyTorch would copy its weights for every row of a batch."""
    language_model = model.language_model
    system = (
        LayAlignSystem(model, processor, max_new_tokens=NEW)
        if kind == "layalign"
        else BareLLM(language_model, processor.tokenizer, max_new_tokens=NEW)
    )
    read: list[torch.Tensor] = []
    head = language_model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    system.answer(examples, batch_size=4)
    with system.evaluating():
        system.loglikelihoods([system.continue_prompt(one, "tatu nne") for one in examples])
    hook.remove()
    assert {states.shape[1] for states in read} == {1, 3}
    assert all(states.is_contiguous() for states in read)


def test_an_answer_ends_at_the_tokenizers_eos_too(
    language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: list[Example]
) -> None:
    language_model.generation_config.eos_token_id = None
    prompt = BareLLM(language_model, tokenizer).feature(f"{examples[0].text}\n")["input_ids"]
    first = decode_plainly(language_model, prompt, -1)[0]
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(first)
    (answer,) = BareLLM(language_model, tokenizer, max_new_tokens=NEW).answer(examples[:1])
    assert answer.new_tokens == 1


def test_inside_layalign_the_bare_llm_is_unchanged(
    tokenizer: PreTrainedTokenizerFast, examples: list[Example]
) -> None:
    language_model = factories.make_language_model()
    alone = BareLLM(language_model, tokenizer, max_new_tokens=NEW).answer(examples)
    inside = factories.make_model(language_model).language_model
    assert BareLLM(inside, tokenizer, max_new_tokens=NEW).answer(examples) == alone


def test_batches_are_reported_and_sorted_by_length(
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widths: list[int] = []

    def generate(*, attention_mask: torch.Tensor, **_: object) -> torch.Tensor:
        widths.append(attention_mask.shape[1])
        return attention_mask[:, -1:]

    monkeypatch.setattr(language_model, "generate", generate)
    system, sizes = BareLLM(language_model, tokenizer), list[int]()
    system.answer(examples, batch_size=4, on_batch=lambda batch: sizes.append(len(batch)))
    assert sizes == [4, 3]
    assert widths == sorted(widths, reverse=True)
    assert widths[1] < widths[0]
    assert system.answer([]) == []


def test_generation_arguments_override(
    language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: list[Example]
) -> None:
    system = BareLLM(language_model, tokenizer, generation={"max_new_tokens": 1})
    assert [answer.new_tokens for answer in system.answer(examples)] == [1] * len(examples)


def test_modes_and_gradients_are_left_as_found(
    model: LayAlignModel, processor: LayAlignProcessor, examples: list[Example]
) -> None:
    model.train()
    modes = {name: part.training for name, part in model.named_modules()}
    state = torch.get_rng_state()
    LayAlignSystem(model, processor, max_new_tokens=2).answer(examples[:2])
    assert {name: part.training for name, part in model.named_modules()} == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert all(dict(model.named_parameters())[n].requires_grad for n in model.trainable_names())


def test_modes_come_back_after_an_error() -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout().eval())

    def fail() -> None:
        with evaluation_mode(module):
            assert not module[0].training
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [part.training for part in module.modules()] == [True, True, False]


def test_wrong_settings(
    language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: list[Example]
) -> None:
    with pytest.raises(ConfigError, match=r"expected one with \{question\}"):
        BareLLM(language_model, tokenizer, prompt_template="answer =")
    with pytest.raises(ConfigError, match="batch_size must be at least 1"):
        BareLLM(language_model, tokenizer).answer(examples, batch_size=0)


def test_until_end() -> None:
    ids = torch.tensor([[5, 3, 3], [5, 6, 7], [3, 0, 0]])
    assert until_end(ids, 3) == [[5, 3], [5, 6, 7], [3]]
    assert until_end(ids, [6, 3]) == [[5, 3], [5, 6], [3]]
    assert until_end(ids, None) == ids.tolist()


def test_until_stop() -> None:
    assert until_stop("one. two? three", ("?", ". ")) == "one"
    assert until_stop("one", ("?",)) == "one"
    assert until_stop("one", ()) == "one"


def test_answers_end_before_a_stop_string(
    language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, examples: list[Example]
) -> None:
    plain = BareLLM(language_model, tokenizer, max_new_tokens=NEW)
    outputs = [answer.text for answer in plain.answer(examples)]
    stop = outputs[0].split()[2]
    stopped = BareLLM(language_model, tokenizer, max_new_tokens=NEW, stop=(stop,))
    texts = [answer.text for answer in stopped.answer(examples)]
    assert texts == [until_stop(text, (stop,)) for text in outputs]
    alone = BareLLM(language_model, tokenizer, max_new_tokens=NEW, stop=(stop,))
    assert alone.answer(examples[:1])[0].new_tokens < NEW


def test_out_of_memory_halves_the_batch_and_goes_on(
    model: LayAlignModel,
    processor: LayAlignProcessor,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = LayAlignSystem(model, processor, max_new_tokens=2).answer(examples)
    system = LayAlignSystem(model, processor, max_new_tokens=2)
    generate, sizes = model.generate, list[int]()

    def tight(**batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch["encoder_input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        answer: torch.Tensor = generate(**batch)
        return answer

    monkeypatch.setattr(model, "generate", tight)
    assert system.answer(examples, batch_size=7) == expected
    assert sizes == [7, 3, *[1] * 7]
    assert "out of memory" in caplog.text
