"""Small parts of generation: the model's mode, and where an answer ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode, and every part of it back as it was afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def end_ids(eos_token_id: int | Sequence[int] | None) -> set[int]:
    """The ids that end an answer, as generation settings name them."""
    return {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id or ())


def until_end(ids: Tensor, eos_token_id: int | Sequence[int] | None) -> list[list[int]]:
    """Cut every row after its first EOS; what follows is padding.

    Args:
        ids: New tokens, ``(batch, new_len)``.
        eos_token_id: Ids that end a row, if any.
    """
    ends = end_ids(eos_token_id)
    rows: list[list[int]] = ids.tolist()
    for row in rows:
        last = next((i for i, token in enumerate(row) if token in ends), len(row))
        del row[last + 1 :]
    return rows


def until_stop(text: str, stop: Sequence[str]) -> str:
    """Cut a text before the first of these strings."""
    places = [place for word in stop if (place := text.find(word)) >= 0]
    return text[: min(places, default=len(text))]
