"""Time and memory of a training step, against the least that a frozen language model needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from layalign.bench.machine import Machine, read_bytes
from layalign.bench.memory import enough_memory, memory_figures
from layalign.bench.published import bare, can_restate, published_loss
from layalign.bench.setup import LENGTHS, Progress, Setup, make_inputs, random_ids, silent
from layalign.bench.timing import BARE, LAYALIGN, PUBLISHED, Run, check_repeats
from layalign.model import LayAlignModel
from layalign.model.backbones import token_embedding
from layalign.model.sequence import IGNORE_INDEX, label_positions, token_loss
from layalign.train.footprint import Lengths
from layalign.train.stages import Stage
from layalign.train.trainer import composite_loss


@enough_memory()
def bench_training(
    setup: Setup,
    *,
    batches: Sequence[int] = (8,),
    stages: Sequence[Stage] = tuple(Stage),
    lengths: Lengths = LENGTHS,
    repeats: int = 5,
    published: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure forward and backward pass of the trained parts, without the optimizer.

    The language model alone is given as many embeddings, which require gradients, and the same
    labels, and computes logits where there are labels and nowhere else.

    Args:
        setup: The backbones.
        batches: Numbers of examples in a step.
        stages: The translation stage has no prompt.
        lengths: Of encoder input, prompt and target.
        repeats: Timed rounds of each row.
        published: Also run the published computation, if there is one of this model.
        progress: Told what is measured next.

    Returns:
        As :func:`bench_generation`, and in every row ``memory_gib`` and ``bare_memory_gib``, what
        a step takes in a process of its own with everything that it needs, and ``memory_ratio``.

    Raises:
        LayAlignError: The backbones cannot be loaded, there are too few rounds, or too little
            memory.
    """
    check_repeats(repeats)
    planned = [(stage, batch, _of_stage(lengths, stage)) for stage in stages for batch in batches]
    memory = []
    for stage, batch, own in planned:  # first, while there is nothing in this process
        progress(f"memory of a {stage.value} step, batch {batch}")
        memory.append(step_memory(setup, own, batch))
    model, machine = setup.model(), Machine.measure(setup)
    rows = []
    for (stage, batch, own), taken in zip(planned, memory, strict=True):
        progress(f"time of a {stage.value} step, batch {batch}")
        inputs = make_inputs(model, own, batch, targets=True, seed=setup.seed)
        sequence = _sequence(own, model.language_model)
        figures = machine.row(
            training_runs(model, inputs, own, published=published),
            repeats=repeats,
            tokens=batch * sequence,
            # Once forwards, and once more backwards but for the frozen encoder.
            weight_bytes=2 * read_bytes(model) - read_bytes(model.encoder),
        )
        shape = {"stage": stage.value, "batch": batch, "sequence": sequence}
        rows.append({**shape, **figures, **taken})
    return machine.result(setup, rows, lengths=dataclasses.asdict(lengths), repeats=repeats)


def training_runs(
    model: LayAlignModel, inputs: Mapping[str, Tensor], lengths: Lengths, *, published: bool
) -> dict[str, Run]:
    """The ways to compute gradients.

    Args:
        model: The model; it is put into training mode.
        inputs: Of the model's ``forward``, without padding.
        lengths: Of the examples.
        published: Whether the published computation is wanted.
    """
    model.train()
    embeddings, labels = bare_inputs(model.language_model, lengths, len(inputs["labels"]))

    def alone() -> None:
        with bare(model.language_model) as language_model:
            bare_step(language_model, embeddings, labels)

    def theirs() -> None:
        model.zero_grad(set_to_none=True)
        published_loss(model, inputs).backward()

    runs: dict[str, Run] = {LAYALIGN: lambda: own_step(model, inputs), BARE: alone}
    if published and can_restate(model):
        runs[PUBLISHED] = theirs
    return runs


def own_step(model: LayAlignModel, inputs: Mapping[str, Tensor]) -> None:
    """Compute the gradients of the trained parts as the training loop does."""
    model.zero_grad(set_to_none=True)
    composite_loss(model, inputs, None).backward()


def bare_inputs(
    language_model: PreTrainedModel, lengths: Lengths, batch: int
) -> tuple[Tensor, Tensor]:
    """Embeddings of random tokens, as many as LayAlign's sequence has, and labels at its end.

    Returns:
        ``(batch, seq_len, d_llm)`` and ``(batch, seq_len)``.
    """
    shape = (batch, _sequence(lengths, language_model))
    labels = random_ids(language_model.config.get_text_config().vocab_size, shape)
    labels = labels.to(language_model.device)
    embeddings = token_embedding(language_model)(labels)
    labels[:, : -lengths.target] = IGNORE_INDEX
    return embeddings, labels


def bare_step(language_model: PreTrainedModel, embeddings: Tensor, labels: Tensor) -> None:
    """Forward pass of a frozen language model, and the gradient of the loss in its input.

    Logits are computed at the label positions only.
    """
    given = embeddings.detach().requires_grad_()
    kept = label_positions(labels)
    output = language_model(
        inputs_embeds=given,
        attention_mask=torch.ones_like(labels),
        logits_to_keep=kept,
        use_cache=False,
    )
    token_loss(output.logits, labels[:, kept]).backward()


def step_memory(setup: Setup, lengths: Lengths, batch: int) -> dict[str, float | None]:
    """What :func:`memory_figures` says of a step on examples of these lengths."""
    return memory_figures(_own_steps, _bare_steps, setup, lengths, batch)


def _own_steps(setup: Setup, lengths: Lengths, batch: int) -> None:
    model = setup.model().train()
    inputs = make_inputs(model, lengths, batch, targets=True, seed=setup.seed)
    for _ in range(2):  # the second one meets what the first one has left
        own_step(model, inputs)


def _bare_steps(setup: Setup, lengths: Lengths, batch: int) -> None:
    language_model = setup.language_model()
    inputs = bare_inputs(language_model, lengths, batch)
    for _ in range(2):
        bare_step(language_model, *inputs)


def _of_stage(lengths: Lengths, stage: Stage) -> Lengths:
    return lengths if stage is Stage.TASK else dataclasses.replace(lengths, prompt=0)


def _sequence(lengths: Lengths, language_model: PreTrainedModel) -> int:
    """Positions of an example; some models have no BOS."""
    return lengths.sequence - (language_model.config.bos_token_id is None)
