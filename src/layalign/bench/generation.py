"""Time greedy generation: LayAlign, the language model alone, the published computation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from layalign.bench.machine import Machine, read_bytes
from layalign.bench.memory import enough_memory
from layalign.bench.published import bare, can_restate, published_generate
from layalign.bench.setup import LENGTHS, Progress, Setup, make_inputs, random_ids, silent
from layalign.bench.timing import BARE, LAYALIGN, PUBLISHED, Run, check_repeats
from layalign.model import LayAlignModel
from layalign.train.footprint import Lengths


@enough_memory()
def bench_generation(
    setup: Setup,
    *,
    batches: Sequence[int] = (1, 8, 32),
    new_tokens: Sequence[int] = (64, 256),
    lengths: Lengths = LENGTHS,
    repeats: int = 5,
    published: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Generate the same number of tokens in every way.

    LayAlign starts from encoder tokens and text: encoder, adapter and aligner are part of its time.
    The language model alone is given as many prompt tokens as LayAlign's sequence has. No row ends
    early.

    Args:
        setup: The backbones.
        batches: Numbers of examples at a time.
        new_tokens: Numbers of tokens to generate.
        lengths: Of the encoder's input and the prompt; there is no target.
        repeats: Timed rounds of each row.
        published: Also run the published computation, if there is one of this model.
        progress: Told what is measured next.

    Returns:
        ``setup``, ``lengths``, ``repeats``, ``machine`` and ``rows``, plain values; see
        ``docs/performance.md``.

    Raises:
        LayAlignError: The backbones cannot be loaded, there are too few rounds, or too little
            memory.
    """
    check_repeats(repeats)
    lengths = dataclasses.replace(lengths, target=0)
    model, machine = setup.model(), Machine.measure(setup)
    once = read_bytes(model) - read_bytes(model.language_model)
    rows = []
    for count in new_tokens:
        for batch in batches:
            progress(f"{count} new tokens, batch {batch}")
            inputs = make_inputs(model, lengths, batch, seed=setup.seed)
            figures = machine.row(
                generation_runs(model, inputs, count, published=published),
                repeats=repeats,
                tokens=batch * count,
                weight_bytes=once + count * read_bytes(model.language_model),
            )
            rows.append({"batch": batch, "new_tokens": count, **figures})
    return machine.result(setup, rows, lengths=dataclasses.asdict(lengths), repeats=repeats)


def generation_runs(
    model: LayAlignModel, inputs: dict[str, Tensor], new_tokens: int, *, published: bool
) -> dict[str, Run]:
    """The ways to generate, each giving ``new_tokens`` ids a row.

    Args:
        model: The model.
        inputs: Of the model's ``generate``, without padding.
        new_tokens: How many.
        published: Whether the published computation is wanted.
    """
    length = _sequence_length(model, inputs)
    shape = (len(inputs["encoder_input_ids"]), length)
    ids = random_ids(model.config.text_config.vocab_size, shape).to(model.device)
    mask = torch.ones_like(ids)
    config = GenerationConfig(
        min_new_tokens=new_tokens, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0
    )

    def alone() -> Any:
        with bare(model.language_model) as language_model:
            found = language_model.generate(ids, attention_mask=mask, generation_config=config)
        return found[:, length:]

    runs: dict[str, Run] = {
        LAYALIGN: lambda: model.generate(**inputs, generation_config=config),
        BARE: alone,
    }
    if published and can_restate(model):
        runs[PUBLISHED] = lambda: published_generate(model, inputs, config)
    return runs


def _sequence_length(model: LayAlignModel, inputs: dict[str, Tensor]) -> int:
    with torch.no_grad():
        return int(model.assemble(**inputs)["attention_mask"].shape[1])
