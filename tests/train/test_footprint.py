"""The memory estimate against what autograd really keeps of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from factories import SWITCHES, make_encoder, make_language_model, make_model
from layalign.model import LayAlignModel
from layalign.model.lora import add_new_lora
from layalign.train.finetune import language_model_loss
from layalign.train.footprint import Lengths, Memory, finetune_memory, stage_memory
from layalign.train.stages import StageConfig
from layalign.train.trainer import activations_checkpointed, composite_loss

ENCODER, PROMPT, TARGET, ROWS = 40, 50, 60, 4
LENGTHS = Lengths(encoder=ENCODER, prompt=PROMPT, target=TARGET)
SAME_SIZES = ("last", "middle", "list", "langbridge", "soft tokens and dora")
dtypes = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


def kept_bytes(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes that a forward pass keeps for the backward pass, weights aside, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, Tensor] = {}  # holding the tensors keeps their addresses from being used again

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address and address not in weights:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def language_model(dtype: str = "float32") -> nn.Module:
    sizes = {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 6}
    model = make_language_model(**sizes, num_key_value_heads=4, max_position_embeddings=512)
    return model.to(getattr(torch, dtype))


def composite(dtype: str, **fields: Any) -> LayAlignModel:
    encoder = make_encoder("mt5", d_model=96, d_kv=24, d_ff=128).to(getattr(torch, dtype))
    return make_model(language_model(dtype), encoder, **fields).train()


def batch() -> dict[str, Tensor]:
    ids = torch.randint(5, 99, (ROWS, PROMPT + TARGET))
    labels = ids.clone()
    labels[:, :PROMPT] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


@pytest.mark.parametrize("rank", [None, 3])
def test_a_lora_inside_is_no_part_of_a_fine_tune(rank: int | None) -> None:
    config = StageConfig(lora_rank=rank)
    plain, inside = (
        finetune_memory(model.language_model, config, LENGTHS, dtype="float32")
        for model in (composite("float32"), composite("float32", lora={"rank": 2}))
    )
    assert plain == inside


@dtypes
@pytest.mark.parametrize("name", [name for name in SWITCHES if name not in SAME_SIZES])
def test_activations_of_a_stage(dtype: str, name: str) -> None:
    model = composite(dtype, **SWITCHES[name])
    inputs = {**batch(), "encoder_input_ids": torch.randint(5, 99, (ROWS, ENCODER))}
    kept = kept_bytes(lambda: composite_loss(model, inputs, None), model)
    estimate = stage_memory(model, StageConfig(batch_size=ROWS), LENGTHS, dtype=dtype)
    # Measured 0.98 of what is kept: the scores' normalisers and the rotary tables lack.
    # With a LoRA 0.98 to 1.13: layers that read one tensor are counted as if each had its own.
    tolerance = 0.05 if model.config.lora is None else 0.15
    assert estimate.activations == pytest.approx(kept, rel=tolerance)


@dtypes
def test_gradient_checkpointing(dtype: str) -> None:
    """What autograd keeps, and what it does not see: layers' inputs, and one layer of all later."""
    model = composite(dtype)
    config = StageConfig(batch_size=ROWS, gradient_checkpointing=True)
    inputs = {**batch(), "encoder_input_ids": torch.randint(5, 99, (ROWS, ENCODER))}
    with activations_checkpointed(model.language_model, config):
        kept = kept_bytes(lambda: composite_loss(model, inputs, None), model)
    size = 4 if dtype == "float32" else 2
    unseen = ROWS * LENGTHS.sequence * (8 * 128 + size * (5 * 128 + 3 * 344 + 6 * 128))
    estimate = stage_memory(model, config, LENGTHS, dtype=dtype)
    assert kept < estimate.activations < kept + unseen


@dtypes
def test_activations_of_the_fine_tune(dtype: str) -> None:
    model = language_model().train()

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            return language_model_loss(model, batch(), None)

    kept = kept_bytes(forward, model)
    lengths = Lengths(encoder=0, prompt=PROMPT, target=TARGET)
    estimate = finetune_memory(
        model, StageConfig(batch_size=ROWS, dtype=dtype), lengths, dtype="float32"
    )
    assert estimate.activations == pytest.approx(kept, rel=0.2)


@dtypes
def test_a_lora(dtype: str) -> None:
    model = language_model(dtype)
    config = StageConfig(batch_size=ROWS, lora_rank=4)
    lengths = Lengths(encoder=0, prompt=PROMPT, target=TARGET)
    estimate = finetune_memory(model, config, lengths, dtype=dtype)
    weights = sum(p.numel() for p in model.parameters()) * getattr(torch, dtype).itemsize
    adapted = add_new_lora(model, 4).train()
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert estimate.weights == weights + 4 * trained
    assert estimate.gradients == 4 * trained
    assert estimate.optimizer == 8 * trained
    kept = kept_bytes(lambda: language_model_loss(adapted, batch(), None), adapted)
    assert estimate.activations == pytest.approx(kept, rel=0.2)


def test_weights_gradients_and_moments() -> None:
    model = composite("bfloat16", lora={"rank": 2, "dora": True})
    trained = sum(model.get_parameter(name).numel() for name in model.trainable_names())
    everything = sum(p.numel() for p in model.parameters())
    config = StageConfig(batch_size=8, micro_batch_size=2)
    found = stage_memory(model, config, LENGTHS, dtype="bfloat16")
    assert found.weights == 2 * (everything - trained) + 4 * trained
    assert found.gradients == 4 * trained
    assert found.optimizer == 8 * trained
    assert found.total == found.weights + found.gradients + found.optimizer + found.activations
    whole = stage_memory(model, StageConfig(batch_size=8), LENGTHS, dtype="bfloat16")
    copies = 2 * trained
    assert whole.activations - copies == 4 * (found.activations - copies)


def test_types() -> None:
    """As stored is what a configuration says; a stage's own type is that of its arithmetic."""
    model = composite("float32")
    half, full, stored = (
        stage_memory(model, StageConfig(), LENGTHS, dtype=dtype)
        for dtype in ("bfloat16", "float32", "auto")
    )
    assert half.weights < full.weights == stored.weights
    mixed = stage_memory(model, StageConfig(dtype="bfloat16"), LENGTHS, dtype="float32")
    assert mixed == Memory(
        weights=full.weights,
        gradients=full.gradients,
        optimizer=full.optimizer,
        activations=half.activations,
    )


def test_sequence_counts_bos_and_boundary() -> None:
    assert LENGTHS.sequence == 1 + ENCODER + 1 + PROMPT + TARGET
    assert Lengths(encoder=0, prompt=3, target=4).sequence == 8
