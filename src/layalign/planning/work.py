"""What a training example costs: operations, and bytes between memory and cores."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from layalign.model import LayAlignModel
from layalign.train.footprint import Lengths, finetuned_size, heads_width
from layalign.train.operations import token_costs
from layalign.train.planned_stage import PlannedStage

_ATTENTION = 4  # operations of a pair of positions: scores and weighted sum, multiply and add
# A Llama layer keeps about 15 numbers for each of its width and moves 75 forwards (norms, rotary
# embedding, activation and residual sums are operations of their own), and twice as many backwards.
# Settled after trials on a processor: see docs/planning.md.
_MOVES = 15


@dataclass(frozen=True, kw_only=True)
class ExampleWork:
    """Work of one example of mean length."""

    operations: float
    """Floating-point operations of forward and backward pass."""

    repeated: float
    """Those of the second forward pass that gradient checkpointing makes."""


def example_work(stage: PlannedStage) -> ExampleWork:
    """Count the operations of an example.

    As :mod:`layalign.train.operations` says for tokens, and with the attention scores: of the
    language model's own attention and the cross attention three times those of a forward pass, of
    the encoder's once. The output head works for the target alone. Padding is left out.

    Args:
        stage: One with a model.
    """
    model, config = stage.model, stage.config
    assert model is not None
    trained = _trained(stage)
    costs, read = token_costs(model, trained), mean_lengths(stage)
    heard = read if costs.has_soft_tokens else replace(read, encoder=0)
    scores = _scores(model, heard.sequence, read.encoder)
    position = costs.language_model - costs.head
    forward = (token_costs(model, ()).language_model - token_costs(model, ()).head) / 2
    if stage.is_plain and config.lora_rank is not None:
        position += 6 * finetuned_size(model, config)
        forward += 2 * finetuned_size(model, config)
    operations = (
        read.encoder * costs.encoder
        + heard.sequence * position
        + read.target * costs.head
        + 3 * scores
        + _encoder_scores(model, read.encoder)
    )
    repeated = heard.sequence * forward + scores if config.gradient_checkpointing else 0.0
    return ExampleWork(operations=operations, repeated=repeated)


def mean_lengths(stage: PlannedStage) -> Lengths:
    """Mean lengths of a stage's examples in whole tokens."""
    encoder, prompt, target = map(math.ceil, stage.mean)
    return Lengths(encoder=encoder, prompt=prompt, target=target)


def moved_bytes(activations: int, weights: int) -> int:
    """Bytes that a forward and backward pass moves between memory and cores, about.

    Args:
        activations: What is kept for the backward pass; every number of it stands for some moves.
        weights: What is read of the weights.
    """
    return _MOVES * activations + weights


def _trained(stage: PlannedStage) -> tuple[str, ...]:
    if isinstance(stage.model, LayAlignModel):
        return stage.model.trainable_names()
    assert stage.model is not None
    if stage.config.lora_rank is not None:
        return ()
    return tuple(name for name, _ in stage.model.named_parameters())


def _scores(model: PreTrainedModel, positions: int, encoder: int) -> float:
    """Operations of attention in the language model's forward pass; causality saves nothing."""
    text = model.config.get_text_config()
    fused = len(model.config.language_layers) if isinstance(model, LayAlignModel) else 0
    pairs = positions * (text.num_hidden_layers * positions + fused * encoder)
    return float(_ATTENTION * heads_width(text) * pairs)


def _encoder_scores(model: PreTrainedModel, encoder: int) -> float:
    if not isinstance(model, LayAlignModel):
        return 0.0
    return float(_ATTENTION * model.config.d_enc * model.config.n_enc_layers * encoder**2)
