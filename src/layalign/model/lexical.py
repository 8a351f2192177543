"""Lexical start: an adapter that begins near the language model's own word embeddings.

A freshly initialised adapter speaks no language, and a small training budget is spent teaching it
one. Here it is fitted beforehand, on English text only: for each encoder token, the last hidden
state shall become the mean embedding of the language-model tokens that cover the same characters.
Because a multilingual encoder places translations near each other, the soft tokens of *every*
language then start near words that the language model knows. Not part of the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from layalign.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from layalign.model.composite import LayAlignModel
    from layalign.processing import LayAlignProcessor

Spans = list[tuple[int, int]]


def lexical_start(
    model: LayAlignModel,
    processor: LayAlignProcessor,
    texts: Sequence[str],
    *,
    updates: int = 1500,
    batch_size: int = 512,
    lr: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Fit the adapter to the language model's word embeddings, in place.

    Args:
        model: Its ``adapter`` is changed, except for the boundary.
        processor: Must hold fast tokenizers, which tell the characters of each token.
        texts: English sentences; a few thousand with a wide vocabulary.
        updates: Adam updates.
        batch_size: Encoder tokens per update.
        lr: Peak learning rate; it falls linearly to zero.
        seed: Of the batches.
        progress: Called with (updates done, updates in all).

    Returns:
        Mean squared error of the last tenth of the updates divided by the targets' variance: 1
        means that nothing was learned.

    Raises:
        ConfigError: There is no adapter, a tokenizer cannot tell character offsets, or no text gave
            a pair.
    """
    adapter = model.adapter
    if adapter is None:
        raise ConfigError("init: lexical fits the adapter, and adapter is none; use init: default")
    states, targets = lexical_pairs(model, processor, texts)
    generator = torch.Generator().manual_seed(seed)
    # Adam leaves alone what has no gradient: the boundary, which is no part of the soft tokens.
    optimizer = torch.optim.Adam(adapter.parameters(), lr=lr)
    variance = max(float(targets.var(0, unbiased=False).mean()), 1e-12)
    device = adapter.boundary.device
    late: list[float] = []
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - update / updates)
        chosen = torch.randint(len(states), (batch_size,), generator=generator)
        given, wanted = (rows[chosen].to(device) for rows in (states, targets))
        loss = F.mse_loss(adapter(given), wanted) / variance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update >= 0.9 * updates:
            late.append(loss.item())
        if progress is not None:
            progress(update + 1, updates)
    optimizer.zero_grad()
    return sum(late) / max(len(late), 1)


@torch.no_grad()
def lexical_pairs(
    model: LayAlignModel, processor: LayAlignProcessor, texts: Sequence[str], batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    """Encoder states and the embeddings that they should become.

    Returns:
        ``(n_tokens, d_enc)`` and ``(n_tokens, d_llm)``, float32, one row for every encoder token
        that covers a character of a language-model token. On the CPU: of large models they are
        gigabytes, for which a GPU that holds both has no room.
    """
    for tokenizer in (processor.encoder_tokenizer, processor.tokenizer):
        if not tokenizer.is_fast:
            raise ConfigError(
                f"init: lexical needs a fast tokenizer, {type(tokenizer).__name__} is not one; "
                "use init: default"
            )
    embed = model.get_input_embeddings()
    device = embed.weight.device
    states, covered = [], []
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), batch_size):
        batch_texts = ordered[start : start + batch_size]
        batch = processor(batch_texts, language="en", prompt_template="").to(device)
        output = model.encoder(
            input_ids=batch["encoder_input_ids"], attention_mask=batch["encoder_attention_mask"]
        )
        for row, text in enumerate(batch_texts):
            pairs = _covering_tokens(processor, text)
            states.append(output.last_hidden_state[row, [position for position, _ in pairs]].cpu())
            covered += [torch.tensor(ids) for _, ids in pairs]
    if not covered:
        raise ConfigError("init: lexical found no text to learn from; expected English sentences")
    lengths = torch.tensor([len(ids) for ids in covered])
    words = embed(torch.arange(embed.num_embeddings, device=device)).cpu().float()
    starts = lengths.cumsum(0) - lengths
    targets = F.embedding_bag(torch.cat(covered), words, starts, mode="mean")
    return torch.cat(states).float(), targets


def _covering_tokens(processor: LayAlignProcessor, text: str) -> list[tuple[int, list[int]]]:
    """For each encoder token its position and the LLM ids that share a character with it.

    White space is left out of the count, because the two tokenizers treat it differently and the
    processor may put spaces between digits.
    """
    limit = processor.encoder_max_length
    source = processor.encoder_text(text)
    encoder_spans, _ = _spans(processor.encoder_tokenizer, source, specials=True)
    llm_spans, llm_ids = _spans(processor.tokenizer, text, specials=False)
    owners: dict[int, list[int]] = {}
    for index, (begin, end) in enumerate(llm_spans):
        for character in range(begin, end):
            owners.setdefault(character, []).append(index)
    pairs = []
    for position, (begin, end) in enumerate(encoder_spans[:limit]):
        shared = sorted({i for c in range(begin, end) for i in owners.get(c, [])})
        if shared:
            pairs.append((position, [llm_ids[i] for i in shared]))
    return pairs


def _spans(
    tokenizer: PreTrainedTokenizerBase, text: str, *, specials: bool
) -> tuple[Spans, list[int]]:
    """Each token's half-open range of non-space characters, counted over the text."""
    encoded = tokenizer(
        text, add_special_tokens=specials, return_offsets_mapping=True, verbose=False
    )
    before = [0]
    for character in text:
        before.append(before[-1] + (not character.isspace()))
    spans = [(before[begin], before[end]) for begin, end in encoded["offset_mapping"]]
    return spans, list(encoded["input_ids"])
