"""Aligner, adapter and cross attention against plain re-statements of the equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from factories import LANGUAGE_MODELS, make_batch, make_encoder, make_language_model, make_model
from layalign.errors import BackboneError, ConfigError, ShapeError
from layalign.model import Adapter, LayAlignConfig, LayAlignModel, LayerWiseAligner, fusion
from layalign.model.backbones import attention_layers
from layalign.model.fused_layers import fused_attention_name
from layalign.model.fusion import added_to_scores, cross_attention, gate_values


def logits(model: LayAlignModel) -> Tensor:
    with torch.no_grad():
        return model(**make_batch(targets=False)).logits


def make_config(**fields: object) -> LayAlignConfig:
    return LayAlignConfig(
        encoder_config=make_encoder().config, text_config=make_language_model().config, **fields
    )


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_aligner_restated_in_loops(kind: str) -> None:
    config = make_config(aligner=kind, encoder_layers=[3, 0], language_layers=[1])
    torch.manual_seed(0)
    aligner = LayerWiseAligner(config)
    x = torch.randn(2, 2, 3, config.d_enc)
    found = aligner(x).detach().numpy()
    weights = {name: p.detach().numpy() for name, p in aligner.named_parameters()}
    assert found.shape == (2, 1, 2, 3, config.d_llm)
    for b, t, slot in np.ndindex(2, 3, 2):
        mixed = weights["mix.bias"][slot] + sum(
            weights["mix.weight"][slot, j] * x[b, j, t].numpy() for j in range(2)
        )
        state = weights["project.weight"] @ np.maximum(mixed, 0) + weights["project.bias"]
        if kind == "mlp":
            state = weights["refine.weight"] @ np.maximum(state, 0) + weights["refine.bias"]
        np.testing.assert_allclose(found[b, 0, slot, t], state, atol=1e-6)


def test_aligner_says_which_shape_it_wants() -> None:
    with pytest.raises(ShapeError, match=r"expects \(batch, 3, enc_len, 24\), got \(1, 4, 2, 24\)"):
        LayerWiseAligner(make_config())(torch.zeros(1, 4, 2, 24))


def test_adapter_restated_and_boundary_starts_at_zero() -> None:
    config = make_config()
    adapter = Adapter(config)
    x = torch.randn(1, 2, config.d_enc)
    w = {name: p.detach().numpy() for name, p in adapter.named_parameters()}
    hidden = np.maximum(x[0].numpy() @ w["linear1.weight"].T + w["linear1.bias"], 0)
    expected = hidden @ w["linear2.weight"].T + w["linear2.bias"]
    np.testing.assert_allclose(adapter(x)[0].detach().numpy(), expected, atol=1e-6)
    assert w["linear1.weight"].shape == (2 * config.d_enc, config.d_enc)
    assert not w["boundary"].any()


@given(
    groups=st.integers(1, 3),
    heads_per_group=st.integers(1, 3),
    seq_len=st.integers(1, 4),
    enc_len=st.integers(1, 4),
    softcap=st.sampled_from([None, 5.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_cross_attention_restated_in_loops(
    groups: int, heads_per_group: int, seq_len: int, enc_len: int, softcap: float | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    heads, size = groups * heads_per_group, 4
    q = rng.normal(size=(1, heads, seq_len, size))
    k, v = rng.normal(size=(2, 1, groups, enc_len, size))
    mask = np.array([[True, *(rng.random(enc_len - 1) > 0.4)]])
    added = added_to_scores(torch.tensor(mask), torch.float64)
    found = cross_attention(
        *(torch.tensor(a) for a in (q, k, v)), added, scaling=0.3, softcap=softcap
    ).numpy()
    for head, position in np.ndindex(heads, seq_len):
        group = head // heads_per_group
        scores = np.array([q[0, head, position] @ k[0, group, t] * 0.3 for t in range(enc_len)])
        if softcap is not None:
            scores = softcap * np.tanh(scores / softcap)
        weights = np.exp(scores) * mask[0]
        expected = (weights / weights.sum()) @ v[0, group]
        np.testing.assert_allclose(found[0, position, head], expected, atol=1e-6)


def test_unknown_attention_is_refused() -> None:
    assert fused_attention_name("sdpa") == fused_attention_name("layalign_sdpa")
    with pytest.raises(BackboneError, match="'magic' cannot carry the fusion"):
        fused_attention_name("magic")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_layers": [4]}, r"encoder_layers is \[4\]; expected .* from 0 to 3"),
        ({"encoder_layers": [1, 1]}, "expected different whole numbers"),
        ({"language_layers": []}, "language_layers is empty"),
        ({"aligner": "cubic"}, "aligner is 'cubic'; expected one of linear, mlp"),
        ({"adapter_width": 0}, "adapter_width is 0"),
    ],
)
def test_wrong_settings(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(**fields)


def test_config_round_trip_and_sizes() -> None:
    config = make_config(encoder="a", aligner="mlp", mask_position_ids=False)
    again = LayAlignConfig.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict()
    assert (again.d_enc, again.d_llm, again.n_enc_layers, again.n_llm_layers) == (24, 32, 3, 2)
    assert again.encoder_layers == [0, 1, 2]
    assert again.get_text_config().model_type == "llama"


def arrays(module: torch.nn.Module) -> dict[str, Any]:
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def test_linear_adapter_restated() -> None:
    adapter = Adapter(make_config(adapter="linear"))
    w, x = arrays(adapter), torch.randn(2, 3, 24)
    expected = x.numpy() @ w["linear1.weight"].T + w["linear1.bias"]
    np.testing.assert_allclose(adapter(x).detach().numpy(), expected, atol=1e-6)
    assert set(w) == {"linear1.weight", "linear1.bias", "boundary"}


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_wide_aligner_restated(kind: str) -> None:
    torch.manual_seed(0)
    aligner = LayerWiseAligner(make_config(aligner=kind, aligner_width=20, encoder_layers=[2, 0]))
    w, x = arrays(aligner), torch.randn(2, 2, 3, 24)
    mixed = np.einsum("sj,bjtd->bstd", w["mix.weight"], x.numpy())
    state = np.maximum(mixed + w["mix.bias"][None, :, None, None], 0)
    for layer in ("widen", "project", "refine"):
        if f"{layer}.weight" in w:
            state = (state if layer == "widen" else np.maximum(state, 0)) @ w[f"{layer}.weight"].T
            state = state + w[f"{layer}.bias"]
    found = aligner(x).flatten(1, 2).detach().numpy()
    np.testing.assert_allclose(found, state, atol=1e-6)


def test_the_mean_is_a_mix_of_equal_weights() -> None:
    mean = LayerWiseAligner(make_config(encoder_layers="mean"))
    mixed = LayerWiseAligner(make_config(encoder_layers=[0, 1, 2]))
    state = mean.state_dict()
    state["mix.weight"] = state["mix.weight"].repeat(1, 3) / 3
    mixed.load_state_dict(state)
    x = torch.randn(2, 3, 4, 24)
    torch.testing.assert_close(mean(x), mixed(x))


@pytest.mark.parametrize("heads", [None, 4])
@pytest.mark.parametrize("width", [None, 6])
def test_gate_values_restated_in_loops(heads: int | None, width: int | None) -> None:
    gates = torch.randn(2, *([] if heads is None else [heads]))
    gate_map, hidden = (torch.randn(6), torch.randn(2, 5, 6)) if width else (None, None)
    found = gate_values(gates, gate_map, hidden).expand(2, 5, 4, 1)
    for row, position, head in np.ndindex(2, 5, 4):
        value = float(gates[row] if heads is None else gates[row, head])
        if gate_map is not None and hidden is not None:
            value += sum(float(a * b) for a, b in zip(hidden[row, position], gate_map, strict=True))
        assert float(found[row, position, head, 0]) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("kind", ["head", "hidden"])
def test_equal_gates_are_a_scalar_gate(kind: str) -> None:
    scalar, other = make_model(), make_model(gate_kind=kind)
    state = scalar.state_dict()
    with torch.no_grad():
        for name in scalar.trainable_names():
            value = state[name] if name != "gates" or kind == "hidden" else state[name][:, None]
            other.get_parameter(name).copy_(value)
        if other.gate_map is not None:
            other.gate_map.zero_()
    torch.testing.assert_close(logits(scalar), logits(other))


def test_every_head_has_its_gate() -> None:
    model = make_model(gate_kind="head")
    before = logits(model)
    for layer, head in np.ndindex(*model.gates.shape):
        value = model.gates.data[layer, head].clone()
        model.gates.data[layer, head] = 0
        assert (logits(model) - before).abs().max() > 1e-4
        model.gates.data[layer, head] = value


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_hidden_gates_see_what_the_layer_reads(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(family, gate_kind="hidden")
    seen: list[Tensor] = []

    def watched(gates: Tensor, gate_map: Tensor | None, hidden: Tensor | None) -> Tensor:
        assert hidden is not None
        seen.append(hidden)
        return gate_values(gates, gate_map, hidden)

    read: dict[int, Tensor] = {}
    for layer, attention in attention_layers(model.language_model).items():
        names = ("q_proj", "qkv_proj", "query_key_value")
        projection = next(m for n, m in attention.named_children() if n in names)
        projection.register_forward_pre_hook(
            lambda _, args, layer=layer: read.update({layer: args[0]})
        )
    monkeypatch.setattr(fusion, "gate_values", watched)
    logits(model)
    assert len(seen) == len(read) == 2
    assert all(torch.equal(one, other) for one, other in zip(seen, read.values(), strict=True))
