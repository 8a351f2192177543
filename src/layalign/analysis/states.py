"""Hidden states of sentences as arrays, one mean vector a sentence and layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from layalign.errors import ShapeError
from layalign.eval.batching import in_batches, longest_first
from layalign.eval.systems import BareLLM, LayAlignSystem
from layalign.model import LayAlignModel
from layalign.model.sequence import kept_positions
from layalign.padding import pad_id, pad_rows

Array = npt.NDArray[np.float32]
OnBatch = Callable[[Mapping[int, Any]], None]

_SMALLEST = 1e-12  # below which a norm counts as none, so that no ratio is infinite


class _Row(NamedTuple):
    encoder: Array
    language_model: Array
    to_embedding: Array
    to_last: Array
    norm_ratios: Array


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a checkpoint makes of some sentences."""

    encoder: Array
    """``(n, n_enc_layers + 1, d_enc)``: encoder states, mean over the tokens."""

    language_model: Array
    """``(n, n_llm_layers + 1, d_llm)``: states of the language model at the soft tokens, mean over
    them. State 0 is what it is given; the last one has been through its final norm."""

    to_embedding: Array
    """``(n, n_enc_layers + 1)``: cosine of every encoder state of a token with the embedding
    output of the same token, mean over the tokens."""

    to_last: Array
    """The same with the last encoder state."""

    norm_ratios: Array
    """``(n, n_fused)``: see :class:`NormRatios`."""


class NormRatios:
    """Watches the fusion of a forward pass: how large the cross attention is, in each fused layer.

    The ratio at a position is the norm of the gated cross attention over that of the self
    attention, each one vector of all heads before the output projection. Kept are means over the
    soft tokens.

    Args:
        counts: Soft tokens of each row, ``(batch,)``.
    """

    def __init__(self, counts: Tensor) -> None:
        """Start with no layer."""
        self.counts = counts
        self.ratios: dict[int, Tensor] = {}

    def __call__(self, layer: int, self_attention: Tensor, cross_attention: Tensor) -> None:
        """Take note of a layer, as a :data:`layalign.model.fusion.FusionWatch`."""
        norms = [term.flatten(2).float().norm(dim=-1) for term in (cross_attention, self_attention)]
        ratios = norms[0] / norms[1].clamp(min=_SMALLEST)
        self.ratios[layer] = mean_over(ratios, soft_positions(self.counts, ratios.shape[1]))

    def rows(self, layers: Sequence[int]) -> Tensor:
        """The ratios of these layers, ``(batch, len(layers))``."""
        if not layers:
            return torch.zeros(len(self.counts), 0)
        return torch.stack([self.ratios[layer] for layer in layers], 1)


def soft_positions(counts: Tensor, length: int) -> Tensor:
    """Where the soft tokens stand in sequences that hold no text: all but the last, the boundary.

    Args:
        counts: Soft tokens of each row, ``(batch,)``.
        length: Of the sequences, which are padded on the left.

    Returns:
        ``(batch, length)``, True at soft tokens.

    Raises:
        ShapeError: The sequences are too short to hold them.
    """
    if length <= int(counts.max()):
        raise ShapeError(
            f"the language model reads {length} positions, expected more than the "
            f"{int(counts.max())} tokens of the encoder; only checkpoints that hand it soft tokens "
            "can be analysed"
        )
    from_end = length - 1 - torch.arange(length, device=counts.device)
    return (from_end > 0) & (from_end <= counts[:, None])


def mean_over(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over positions.

    Args:
        values: ``(batch, …, length)``.
        mask: ``(batch, length)``, True at the positions that count.
    """
    weights = mask.to(values.dtype)
    while weights.dim() < values.dim():
        weights = weights.unsqueeze(1)
    return (values * weights).sum(-1) / weights.sum(-1)


def pool(hidden_states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean of every state over positions, in float32.

    Args:
        hidden_states: Of each layer, ``(batch, length, width)``.
        mask: ``(batch, length)``, True at the positions that count.

    Returns:
        ``(batch, n_layers, width)``.
    """
    weights = mask.float() / mask.sum(1, keepdim=True)
    pooled = [(weights[:, None] @ states.float()).squeeze(1) for states in hidden_states]
    return torch.stack(pooled, 1)


def read_layalign(
    system: LayAlignSystem,
    texts: Sequence[str],
    language: str,
    *,
    batch_size: int = 8,
    on_batch: OnBatch | None = None,
) -> Reading:
    """Let encoder and language model read sentences as in the translation stage.

    The encoder reads the text; the language model BOS, soft tokens and boundary, and no text.

    Args:
        system: With model and processor.
        texts: The sentences.
        language: Their BCP-47 tag.
        batch_size: Sentences at a time.
        on_batch: Called after every batch.

    Raises:
        DataError: A text is empty.
        EvaluationError: Memory does not suffice for a single sentence.
    """
    features = [
        system.processor.encode(text, language=language, prompt_template="") for text in texts
    ]

    def run(rows: list[int]) -> list[_Row]:
        return list(_read_batch(system, [features[i] for i in rows]))

    with system.evaluating():
        found = in_batches(longest_first(features), batch_size, run, on_batch)
    return Reading(**{name: np.stack([getattr(r, name) for r in found]) for name in _Row._fields})


def _read_batch(system: LayAlignSystem, features: list[dict[str, list[int]]]) -> Iterator[_Row]:
    model = system.model
    batch = system.processor.pad(features).to(model.device)
    mask = batch["encoder_attention_mask"].bool()
    counts = mask.sum(1)
    encoded = _encode(model, batch)
    states = encoded.hidden_states
    layers, watch = model.config.language_layers, NormRatios(counts)
    watched = {"fusion_watch": watch} if layers else {}
    output = model(
        **batch, encoder_outputs=encoded, output_hidden_states=True, logits_to_keep=1, **watched
    )
    soft = soft_positions(counts, output.hidden_states[0].shape[1])
    columns = (
        pool(states, mask),
        pool(output.hidden_states, soft),
        _to_state(states, states[0], mask),
        _to_state(states, states[-1], mask),
        watch.rows(layers),
    )
    arrays = [column.cpu().numpy() for column in columns]
    return (_Row(*row) for row in zip(*arrays, strict=True))


def _encode(model: LayAlignModel, batch: Mapping[str, Any]) -> Any:
    """The encoder's output for a batch, with all hidden states."""
    return model.encoder(
        input_ids=batch["encoder_input_ids"],
        attention_mask=batch["encoder_attention_mask"],
        output_hidden_states=True,
    )


def _to_state(states: Sequence[Tensor], other: Tensor, mask: Tensor) -> Tensor:
    """Cosine of every state with another one, token by token, ``(batch, n_layers)``."""
    found = [F.cosine_similarity(state.float(), other.float(), dim=-1) for state in states]
    return mean_over(torch.stack(found, 1), mask)


def read_bare(
    system: BareLLM,
    texts: Sequence[str],
    *,
    batch_size: int = 8,
    on_batch: OnBatch | None = None,
) -> Array:
    """Let a language model read sentences as text, after BOS and without any template.

    Args:
        system: With model and tokenizer.
        texts: The sentences.
        batch_size: Sentences at a time.
        on_batch: Called after every batch.

    Returns:
        ``(n, n_llm_layers + 1, d_llm)``, mean over the tokens of the sentence.

    Raises:
        EvaluationError: Memory does not suffice for a single sentence.
    """
    model, tokenizer = system.model, system.tokenizer
    bos = model.config.get_text_config().bos_token_id
    start = [] if bos is None else [bos]
    features = [
        {"input_ids": start + tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]}
        for text in texts
    ]

    def run(rows: list[int]) -> list[Array]:
        ids, mask = pad_rows([features[i]["input_ids"] for i in rows], pad_id(tokenizer))
        states = model(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=kept_positions(1, ids),
        ).hidden_states
        mask[:, : len(start)] = 0
        return list(pool(states, mask.bool().to(model.device)).cpu().numpy())

    with system.evaluating():
        return np.stack(in_batches(longest_first(features), batch_size, run, on_batch))


def token_states(system: LayAlignSystem, text: str, language: str) -> tuple[list[str], Array]:
    """The encoder's tokens of one sentence and all their states.

    Returns:
        The tokens, and ``(n_enc_layers + 1, enc_len, d_enc)``.
    """
    feature = system.processor.encode(text, language=language, prompt_template="")
    batch = system.processor.pad([feature]).to(system.model.device)
    with system.evaluating():
        states = _encode(system.model, batch).hidden_states
    ids = feature["encoder_input_ids"]
    tokens = system.processor.encoder_tokenizer.convert_ids_to_tokens(ids)
    return list(tokens), torch.cat(list(states)).float().cpu().numpy()
