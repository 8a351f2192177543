"""A running stage's state, to its checkpoints and back.

All processes have to take part, for each may hold a part of it; the main one writes. In the files
are whole tensors, so that a run can be taken up by another number of processes, or with another way
of sharing the work.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from layalign import processes
from layalign.train.checkpoints import prune, write_checkpoint
from layalign.train.sharding import load_optimizer_state, whole, whole_optimizer_state

if TYPE_CHECKING:
    from layalign.train.loop import TrainingLoop


def save_checkpoint(loop: TrainingLoop) -> None:
    """Write the checkpoint of the last update, then delete older ones.

    Raises:
        TrainingError: It cannot be written; earlier checkpoints are as before.
    """
    assert loop.optimizer is not None  # while it trains
    learner = loop.learner
    weights = {name: whole(learner.get_parameter(name)) for name in loop.trained}
    # DeepSpeed does not give them away.
    moments = {} if loop.is_deepspeed_enabled else whole_optimizer_state(loop.optimizer)
    # The main process writes its own beside the rest, where a full disk is explained.
    found = processes.gather(None if processes.is_main() else loop.random_state())
    others = dict(state for state in found if state is not None)
    processes.by_main(partial(_write_and_prune, loop, weights, moments, others))


def load_moments(loop: TrainingLoop, checkpoint: Path) -> None:
    """Put optimiser and schedule back to where they were.

    Raises:
        UnpicklingError: A file holds more than tensors.
    """
    moments, schedule = (
        torch.load(checkpoint / name, map_location="cpu", weights_only=True)
        for name in (OPTIMIZER_NAME, SCHEDULER_NAME)
    )
    assert loop.optimizer is not None
    assert loop.lr_scheduler is not None
    load_optimizer_state(loop.optimizer, moments)
    loop.lr_scheduler.load_state_dict(schedule)


def _write_and_prune(
    loop: TrainingLoop,
    weights: dict[str, Tensor],
    moments: dict[str, Any],
    random_states: dict[str, bytes],
) -> None:
    assert loop.lr_scheduler is not None
    schedule = loop.lr_scheduler.state_dict()

    def write(folder: Path) -> None:
        if loop.save is not None:
            loop.save(folder, weights)
        torch.save(moments, folder / OPTIMIZER_NAME)
        torch.save(schedule, folder / SCHEDULER_NAME)
        loop.save_random_state(folder)
        for name, content in random_states.items():
            (folder / name).write_bytes(content)
        loop.state.save_to_json(str(folder / "trainer_state.json"))
        loop.record.save(folder)
        loop.stage.save(folder)

    write_checkpoint(loop.folder, loop.state.global_step, write)
    best = loop.record.best if loop.stage.keep_best else None
    prune(loop.folder, keep=loop.stage.keep_checkpoints, best=best.update if best else None)
