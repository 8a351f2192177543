"""The sequence that the language model reads, and its labels, as pure functions of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from layalign.errors import ConfigError, ShapeError

IGNORE_INDEX = -100
"""Label of a position where nothing is to be predicted."""


def join_parts(
    parts: Sequence[tuple[Tensor, Tensor]], labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Put the parts of a sequence one after another.

    Padding of either side and of every part is gathered on the left, and columns that are padding
    in every row are dropped.

    Args:
        parts: Embeddings ``(batch, part_len, d_llm)`` and mask ``(batch, part_len)``, 1 at real
            positions, of each part.
        labels: Of the last part, ``(batch, part_len)``; the other parts get none.

    Returns:
        ``inputs_embeds`` ``(batch, seq_len, d_llm)``, ``attention_mask`` ``(batch, seq_len)`` and,
        if given, ``labels`` ``(batch, seq_len)``.
    """
    joined = {
        "inputs_embeds": torch.cat([embeds for embeds, _ in parts], 1),
        "attention_mask": torch.cat([mask.long() for _, mask in parts], 1),
    }
    if labels is not None:
        before = joined["attention_mask"].shape[1] - labels.shape[1]
        joined["labels"] = F.pad(labels, (before, 0), value=IGNORE_INDEX)
    return gather_padding_left(joined)


def gather_padding_left(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Push the real positions of every row to the right end, keeping their order.

    Args:
        batch: Tensors ``(batch, seq_len)`` or ``(batch, seq_len, width)``, ``attention_mask``
            among them.

    Returns:
        The same tensors, cut to the longest row.
    """
    mask = batch["attention_mask"]
    longest = int(mask.sum(1).max())
    order = mask.sort(dim=1, stable=True).indices[:, -longest:]  # padding first
    gathered = {}
    for name, tensor in batch.items():
        index = order if tensor.dim() == 2 else order[..., None].expand(-1, -1, tensor.shape[-1])
        gathered[name] = tensor.gather(1, index)
    return gathered


def check_same_shape(name: str, tensor: Tensor, **others: Tensor | None) -> None:
    """Check that tensors that belong together have one shape; None is left out.

    Raises:
        ShapeError: One of ``others`` differs from ``tensor``.
    """
    for other, value in others.items():
        if value is not None and value.shape != tensor.shape:
            raise ShapeError(
                f"{other} has shape {tuple(value.shape)}, expected that of {name}, "
                f"{tuple(tensor.shape)}"
            )


def check_begun(attention_mask: Tensor | None, labels: Tensor | None) -> None:
    """Check that the text of every row begins with something that is not to be predicted.

    Args:
        attention_mask: ``(batch, text_len)``; None for no text.
        labels: ``(batch, text_len)``; None for a prompt alone.

    Raises:
        ConfigError: A row does not.
    """
    if attention_mask is not None:
        given = attention_mask.bool()
        given = given if labels is None else given & (labels == IGNORE_INDEX)
        if given.any(1).all():
            return
    raise ConfigError(
        "without soft tokens (adapter: none) and BOS the language model has nothing to begin with; "
        "give it a prompt, set bos_token_id, or choose another adapter"
    )


def check_encoder_length(length: int, positions: int | None) -> None:
    """Refuse texts that are longer than an encoder's table of positions.

    Args:
        length: Tokens of a text.
        positions: See :func:`layalign.model.backbones.encoder_positions`.

    Raises:
        ConfigError: The encoder has no position for the last of them.
    """
    if positions is not None and length > positions:
        raise ConfigError(
            f"the encoder is to read {length} tokens, but has only {positions} positions; set "
            f"encoder_max_length to at most {positions}"
        )


def label_positions(labels: Tensor) -> Tensor:
    """Columns from the one that predicts the first label of any row to the end.

    Given to the language model as ``logits_to_keep``. Indices, not a number: a slice of the
    hidden states would not be contiguous, and on a CPU the output head would then copy its
    weights once per row.

    Args:
        labels: ``(batch, seq_len)``.

    Returns:
        ``(n_kept,)``, rising.
    """
    columns = (labels != IGNORE_INDEX).any(0).nonzero()
    first = int(columns[0]) if len(columns) else labels.shape[1]
    return torch.arange(max(first - 1, 0), labels.shape[1], device=labels.device)


def kept_positions(logits_to_keep: int | Tensor, given: Tensor | None) -> int | Tensor:
    """What to tell a language model as ``logits_to_keep`` in place of a number of last positions.

    They are indices if there are more positions, for the reason of :func:`label_positions`.

    Args:
        logits_to_keep: The number, 0 for all, or indices, which stay as they are.
        given: What the language model reads, ``(batch, seq_len, …)``.
    """
    if isinstance(logits_to_keep, Tensor) or given is None:
        return logits_to_keep
    if not 0 < logits_to_keep < given.shape[1]:
        return logits_to_keep
    return torch.arange(-logits_to_keep, 0, device=given.device)


def token_loss(logits: Tensor, labels: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Cross entropy of each label against the logits of the position before it, in float32.

    Args:
        logits: ``(batch, seq_len, vocab)``.
        labels: ``(batch, seq_len)``, -100 is ignored.
        num_items: Divide the sum by this number; None for the mean over the targets.
    """
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX).flatten()
    count = (targets != IGNORE_INDEX).sum() if num_items is None else num_items
    total: Tensor = _SummedLoss.apply(logits.flatten(0, 1), targets)  # type: ignore[no-untyped-call]
    return total / count


class _SummedLoss(torch.autograd.Function):
    """Sum of the cross entropies of rows of logits, a few rows at a time.

    The logits are the largest tensors of a training step. PyTorch's own function makes several of
    their size, in float32; this one makes their gradient and nothing else, in their own type, and
    on a CPU what it works on stays in the cache.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        parts = [part.float().logsumexp(-1) for part in logits.split(_rows_at_a_time(logits))]
        norms = torch.cat(parts)
        ctx.save_for_backward(logits, targets, norms)
        chosen = logits.gather(1, targets.clamp(min=0)[:, None])[:, 0].float()
        return (norms - chosen).masked_fill(targets == IGNORE_INDEX, 0).sum()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None]:
        logits, targets, norms = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        factors = outer.expand(len(targets)).masked_fill(targets == IGNORE_INDEX, 0)[:, None]
        rows = (logits, norms[:, None], targets.clamp(min=0)[:, None], factors, gradient)
        size = _rows_at_a_time(logits)
        for part, norm, target, factor, out in zip(*(t.split(size) for t in rows), strict=True):
            share = (part.float() - norm).exp_()  # the model's probabilities
            share.scatter_add_(1, target, torch.full_like(norm, -1.0))
            out.copy_(share.mul_(factor))
        return gradient, None


def _rows_at_a_time(logits: Tensor) -> int:
    """Rows whose float32 copies a CPU keeps in its cache, or a GPU hardly notices."""
    return max(1, 2 ** (18 if logits.is_cpu else 26) // logits.shape[1])
