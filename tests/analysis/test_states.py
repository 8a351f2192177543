"""States of sentences, against forward passes written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from factories import make_language_model, make_model, make_processor
from layalign.analysis.states import (
    NormRatios,
    mean_over,
    pool,
    read_bare,
    read_layalign,
    soft_positions,
    token_states,
)
from layalign.errors import ShapeError
from layalign.eval.systems import BareLLM, LayAlignSystem
from layalign.model import LayAlignModel

TEXTS = ["ana mayai", "bei gani sasa 12 ?", "nne", "jumla yake ni mbili"]


def make_system(model: LayAlignModel) -> LayAlignSystem:
    return LayAlignSystem(model, make_processor(prompt_template="the answer is"))


def hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("family", ["llama", "qwen3", "stablelm", "gpt_neox"])
def test_reading_one_by_one_and_by_hand(family: str) -> None:
    model = make_model(family)
    system = make_system(model)
    reading = read_layalign(system, TEXTS, "sw", batch_size=3)
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([system.processor.encode(text)["encoder_input_ids"]])
        n = ids.shape[1]
        with torch.no_grad():
            states = model.encoder(input_ids=ids, output_hidden_states=True).hidden_states
            spoken = model(encoder_input_ids=ids, output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            assert reading.encoder[i, layer] == pytest.approx(state[0].mean(0).numpy(), abs=1e-5)
            for found, other in ((reading.to_embedding, states[0]), (reading.to_last, states[-1])):
                cosine = torch.cosine_similarity(state[0], other[0], dim=-1).mean()
                assert found[i, layer] == pytest.approx(float(cosine), abs=1e-5)
        start = spoken[0].shape[1] - n - 1  # BOS, if there is one; the boundary is the last
        for layer, state in enumerate(spoken):
            own = state[0, start : start + n].mean(0)
            assert reading.language_model[i, layer] == pytest.approx(own.numpy(), abs=1e-4)
    assert reading.to_embedding[:, 0] == pytest.approx(1, abs=1e-6)
    assert reading.to_last[:, -1] == pytest.approx(1, abs=1e-6)


def test_every_batch_is_encoded_once() -> None:
    model = make_model()
    calls: list[object] = []
    handle = model.encoder.register_forward_hook(lambda *call: calls.append(call))
    read_layalign(make_system(model), TEXTS, "sw", batch_size=2)
    handle.remove()
    assert len(calls) == 2


def by_hand(model: LayAlignModel, ids: Tensor) -> dict[int, Tensor]:
    """Norm of cross over self attention of the soft tokens, from what Wo is given.

    What it is given with the gate of one layer closed is that layer's self attention.
    """
    given: list[Tensor] = []

    def keep(_: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        given.append(args[0][0, 1:-1])

    found = {}
    gates = model.gates.detach().clone()
    for layer, block in enumerate(model.language_model.model.layers):
        given.clear()
        handle = block.self_attn.o_proj.register_forward_pre_hook(keep)
        with torch.no_grad():
            model(encoder_input_ids=ids)
            model.gates[layer] = 0.0
            model(encoder_input_ids=ids)
            model.gates.copy_(gates)
        handle.remove()
        both, alone = given
        found[layer] = ((both - alone).norm(dim=-1) / alone.norm(dim=-1)).mean()
    return found


def test_norm_ratios_restated() -> None:
    model = make_model()
    system = make_system(model)
    reading = read_layalign(system, TEXTS, "sw")
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([system.processor.encode(text)["encoder_input_ids"]])
        for layer, ratio in by_hand(model, ids).items():
            assert reading.norm_ratios[i, layer] == pytest.approx(float(ratio), rel=1e-3)


def test_a_closed_gate_adds_nothing() -> None:
    assert not read_layalign(make_system(make_model(gate=0.0)), TEXTS, "sw").norm_ratios.any()


def test_layers_that_are_fused_alone_are_watched() -> None:
    model = make_model(language_layers=[1])
    assert read_layalign(make_system(model), TEXTS, "sw").norm_ratios.shape == (4, 1)
    without = read_layalign(make_system(make_model(aligner="none")), TEXTS, "sw")
    assert without.norm_ratios.shape == (4, 0)


def test_nothing_is_left_behind_after_an_error() -> None:
    model = make_model("stablelm").train()  # a family with hooks of its own
    read_layalign(make_system(model), TEXTS, "sw")  # transformers has some for hidden states
    before = hooks(model)

    def fail(found: object) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        read_layalign(make_system(model), TEXTS, "sw", on_batch=fail)
    assert hooks(model) == before
    assert model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("bos", [True, False])
def test_the_bare_language_model(bos: bool) -> None:
    model = make_language_model()
    if not bos:
        model.config.bos_token_id = None
    system = BareLLM(model, make_processor().tokenizer)
    found = read_bare(system, TEXTS, batch_size=3)
    for i, text in enumerate(TEXTS):
        ids = system.tokenizer(text, add_special_tokens=False)["input_ids"]
        given = torch.tensor([[1, *ids] if bos else ids])
        with torch.no_grad():
            states = model(input_ids=given, output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            own = state[0, -len(ids) :].mean(0)
            assert found[i, layer] == pytest.approx(own.numpy(), abs=1e-5)


def test_tokens() -> None:
    tokens, states = token_states(make_system(make_model()), "ana mayai", "sw")
    assert tokens == ["<s>", "ana", "mayai", "</s>"]
    assert states.shape == (4, 4, 24)


def test_soft_positions() -> None:
    found = soft_positions(torch.tensor([3, 1]), 5)  # BOS, soft tokens, boundary
    assert found.tolist() == [[False, True, True, True, False], [False, False, False, True, False]]
    with pytest.raises(ShapeError, match="only checkpoints that hand it soft tokens"):
        soft_positions(torch.tensor([3, 1]), 3)


def test_means() -> None:
    mask = torch.tensor([[True, True, False]])
    values = torch.tensor([[1.0, 3.0, 50.0]])
    assert mean_over(values, mask).tolist() == [2.0]
    assert mean_over(values[:, None].expand(1, 4, 3), mask).tolist() == [[2.0] * 4]
    assert pool([values[..., None]], mask).tolist() == [[[2.0]]]


def test_ratio_without_self_attention_is_finite() -> None:
    watch = NormRatios(torch.tensor([1]))
    watch(0, torch.zeros(1, 3, 2, 4), torch.ones(1, 3, 2, 4))
    assert torch.isfinite(watch.rows([0])).all()
