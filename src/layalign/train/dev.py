"""The loss of a running stage on its development set."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch

from layalign import processes
from layalign.model.sequence import IGNORE_INDEX
from layalign.train.record import DevResult

if TYPE_CHECKING:
    from layalign.train.batches import StageDataset
    from layalign.train.loop import TrainingLoop


@torch.no_grad()
def dev_loss(loop: TrainingLoop, dev: StageDataset) -> DevResult:
    """Compute the loss of every language's examples, each process that of some batches.

    The sums are added up in the order of the batches, so that their number does not matter.
    """
    was_training = loop.learner.training
    loop.learner.train(False)
    batches = list(dev.by_language(loop.stage.examples_per_forward))
    found: list[tuple[int, str, float, int]] = []
    for number in processes.shares(len(batches)):
        loop.end_if_asked()
        # All go forward equally often: those that run out of batches repeat one.
        language, indices = batches[min(number, len(batches) - 1)]
        loss, count = _sum(loop, dev, indices)
        if number < len(batches):
            found.append((number, language, loss, count))
    loop.learner.train(was_training)
    everyone = sorted(chain.from_iterable(processes.gather(found)))
    return DevResult.of(loop.record.usage.updates, (part[1:] for part in everyone))


def _sum(loop: TrainingLoop, dev: StageDataset, indices: list[int]) -> tuple[float, int]:
    """Sum of the losses of one batch, and the number of its targets."""
    batch = loop.prepare(dev.collate([dev[i] for i in indices]))
    with loop.arithmetic():
        loss = float(loop.loss_function(loop.learner, batch, 1))
    return loss, int((batch["labels"] != IGNORE_INDEX).sum())
