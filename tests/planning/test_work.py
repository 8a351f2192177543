"""Operations of an example against what PyTorch counts of a real pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from factories import make_encoder, make_language_model, make_model
from layalign.model.lora import add_new_lora
from layalign.planning.work import ExampleWork, example_work, mean_lengths
from layalign.train.finetune import language_model_loss
from layalign.train.methods import plan_method
from layalign.train.planned_stage import PlannedStage
from layalign.train.recipe import Recipe
from layalign.train.stages import StageConfig
from layalign.train.trainer import activations_checkpointed, composite_loss

ENCODER, PROMPT, TARGET, ROWS = 40, 30, 50, 2


def planned(name: str, model: PreTrainedModel, **settings: Any) -> PlannedStage:
    """A stage of a model over examples of one length, none of them there."""
    recipe = Recipe.from_dict(
        {
            "output_dir": "out",
            "model": {"encoder": "e", "language_model": "l"},
            "data": {name: {"train": [{"path": "no.jsonl"}]}},
            "stage": {name: {"batch_size": ROWS, **settings}},
        }
    )
    method = plan_method(recipe)
    stage = PlannedStage(
        name,
        method.configs[name],
        method,
        examples=[],
        counts=[100],
        model=model,
        processor=None,
    )
    stage.mean = (0 if stage.is_plain else ENCODER, PROMPT, TARGET)
    return stage


def language_model() -> PreTrainedModel:
    sizes = {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4}
    return make_language_model(**sizes, max_position_embeddings=512, attn_implementation="eager")


def composite(**fields: Any) -> PreTrainedModel:
    encoder = make_encoder("mt5", d_model=96, d_kv=24, d_ff=128)
    return make_model(language_model(), encoder, **fields).train()


def batch() -> dict[str, Tensor]:
    ids = torch.randint(5, 99, (ROWS, PROMPT + TARGET))
    labels = ids.clone()
    labels[:, :PROMPT] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def counted(model: PreTrainedModel, loss: Any, inputs: dict[str, Tensor], config: Any) -> float:
    """Operations of an example: all matrix products of a forward and a backward pass."""
    counter = FlopCounterMode(display=False)
    checkpointed = getattr(model, "language_model", model)
    with counter, activations_checkpointed(checkpointed, config):
        loss(model, inputs, None).backward()
    return counter.get_total_flops() / ROWS


def everything(work: ExampleWork) -> float:
    return work.operations + work.repeated


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({}, {}),
        ({}, {"gradient_checkpointing": True}),
        ({"adapter": "none"}, {}),
        ({"aligner": "none"}, {}),
        ({"aligner": "mlp", "language_layers": [1, 3]}, {}),
    ],
    ids=["paper", "checkpointing", "no adapter", "no aligner", "some layers"],
)
def test_a_stage(fields: dict[str, Any], settings: dict[str, Any]) -> None:
    model = composite(**fields)
    stage = planned("task", model, **settings)
    inputs = {**batch(), "encoder_input_ids": torch.randint(5, 99, (ROWS, ENCODER))}
    found = counted(model, composite_loss, inputs, stage.config)
    # What is counted too often: gradients of what the encoder gives, which nothing needs; when a
    # layer is repeated, its last product; and what a model finds a shorter way to.
    assert everything(example_work(stage)) == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize("rank", [None, 8])
def test_a_fine_tune(rank: int | None) -> None:
    model = language_model()
    stage = planned("finetune", model, lora_rank=rank)
    expected = everything(example_work(stage))
    learner = model.train() if rank is None else add_new_lora(model, rank).train()
    found = counted(learner, language_model_loss, batch(), StageConfig())
    assert expected == pytest.approx(found, rel=0.05)


def test_what_a_frozen_model_saves() -> None:
    """Per parameter and token: encoder 2, language model 4, all of it trained 6."""
    model = composite(aligner="none")
    frozen = example_work(planned("task", model)).operations
    trained = example_work(planned("finetune", model.language_model)).operations
    assert frozen / (1 + ENCODER + 1 + PROMPT + TARGET) < trained / (1 + PROMPT + TARGET)
    again = example_work(planned("task", model, gradient_checkpointing=True))
    assert again.operations == frozen
    assert 0.4 * frozen < again.repeated < 0.5 * frozen


def test_means_are_whole_tokens() -> None:
    stage = planned("task", composite())
    stage.mean = (3.2, 4.0, 0.1)
    found = mean_lengths(stage)
    assert (found.encoder, found.prompt, found.target) == (4, 4, 1)
