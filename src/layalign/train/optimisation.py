"""What is optimised at which rate, and what transformers' Trainer is told."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from layalign.errors import ConfigError, TrainingError
from layalign.model.parts import GATES, part_of
from layalign.train.stages import StageConfig

REPORTERS = ("wandb", "trackio", "mlflow")
"""Packages that transformers can send figures to. TensorBoard gets them always."""


def check_reporters(names: Sequence[str]) -> None:
    """See that figures can be sent there.

    Raises:
        ConfigError: One is not known or not installed.
    """
    for name in names:
        if name not in REPORTERS:
            expected = ", ".join(REPORTERS)
            raise ConfigError(f"cannot report to {name!r}; expected one of {expected}")
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"reporting to {name} needs its package: pip install {name}")


def parameter_groups(
    model: nn.Module, trained: Sequence[str], config: StageConfig
) -> list[dict[str, Any]]:
    """Optimiser groups by exact parameter name.

    Raises:
        TrainingError: What wants gradients is not what is to be trained.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if set(parameters) != set(trained):
        wrong = sorted(set(parameters) ^ set(trained))
        raise TrainingError(
            f"{len(wrong)} parameters are trainable but should not be, or the other way round: "
            f"{', '.join(wrong[:5])}; leave requires_grad as the model sets it"
        )
    gates = [p for name, p in parameters.items() if part_of(name) == GATES]
    others = [p for name, p in parameters.items() if part_of(name) != GATES]
    groups = [
        {"params": others, "lr": config.lr, "weight_decay": config.weight_decay},
        {"params": gates, "lr": config.gate_lr or config.lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def training_arguments(
    config: StageConfig, device: torch.device, folder: Path, report_to: Sequence[str] = ()
) -> TrainingArguments:
    """Everything that the Trainer does by itself.

    Args:
        config: The stage.
        device: Of the model.
        folder: Where transformers may write.
        report_to: Where figures go beside TensorBoard; see :data:`REPORTERS`.

    Raises:
        ConfigError: The batch cannot be divided among the processes.
    """
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.examples_per_forward,
        # The sampler covers the whole run, so that updates run on over the end of an epoch.
        num_train_epochs=1,
        max_grad_norm=config.max_grad_norm,
        neftune_noise_alpha=config.embedding_noise,
        seed=config.seed,
        use_cpu=device.type == "cpu",
        eval_strategy="no",
        save_strategy="no",  # both are decided by the loop's callback
        logging_steps=10,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=list(report_to) or "none",
        run_name=str(folder),
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        ddp_find_unused_parameters=False,  # there are none
    )
    if arguments.world_size == 1:
        arguments._n_gpu = min(arguments.n_gpu, 1)  # otherwise several GPUs mean DataParallel
    arguments.gradient_accumulation_steps = config.passes_of_each(arguments.world_size)
    return arguments
