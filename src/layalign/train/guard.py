"""Updates that must not be made, and losses that jump."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from layalign.durable import rename_when_complete
from layalign.errors import TrainingError

if TYPE_CHECKING:
    from layalign.data.example import Example
    from layalign.train.record import Record

BAD_UPDATES_FOLDER = "bad-updates"
_REMEDY = "lower lr or gate_lr, or use dtype float32, in another output_dir"
_MOST_SAVED = 10  # batches, so that a run that is bad all the time does not fill the disk

_WINDOW = 100  # losses that a spike is measured against
_ENOUGH = 20
_SPIKE = 6.0
_LEAST = 0.01  # nats; losses that are all but equal are no reason to call the next one a spike
# The median distance from the median, times this, is the standard deviation of normal values.
_NORMAL = 1.4826


def is_spike(before: Sequence[float], loss: float) -> bool:
    """Whether a loss is far above those just before it.

    Far is six standard deviations, estimated by medians, which earlier spikes do not move.

    Args:
        before: Losses so far; those that are no numbers are left out.
        loss: The next one.
    """
    recent = [value for value in before[-_WINDOW:] if math.isfinite(value)]
    if len(recent) < _ENOUGH:
        return False
    middle = median(recent)
    deviation = _NORMAL * median(abs(value - middle) for value in recent)
    return loss - middle > _SPIKE * max(deviation, _LEAST)


def bad_in_a_row(losses: Sequence[float]) -> int:
    """How many of the last updates were not made."""
    count = 0
    for loss in reversed(losses):
        if math.isfinite(loss):
            break
        count += 1
    return count


def note_update(record: Record, loss: float, norm: float) -> bool:
    """Enter an update into the record.

    Args:
        record: Of the stage.
        loss: Token mean, nats.
        norm: Of the gradients.

    Returns:
        Whether it can be made: whether both are numbers.
    """
    good = math.isfinite(loss) and math.isfinite(norm)
    if good and is_spike(record.losses, loss):
        record.spikes.append(len(record.losses) + 1)
    record.losses.append(loss if good else math.nan)
    record.grad_norms.append(norm)
    return good


def save_bad_update(
    folder: Path,
    figures: Mapping[str, float],
    batches: Iterable[Mapping[str, Any]],
    examples: Iterable[tuple[int, Example]],
) -> Path | None:
    """Leave the batches of an update for inspection.

    Args:
        folder: Of the stage.
        figures: ``update`` and what else is to stand in ``batch.json``.
        batches: Tensors of every micro-batch; ``batch.safetensors`` has them as ``0.input_ids`` …
        examples: What they were made of, each with its index in the training set, in the order of
            the batches; in ``batch.json``.

    Returns:
        Where they are; None if there are enough of them already.

    Raises:
        OSError: They cannot be written.
    """
    place = folder / BAD_UPDATES_FOLDER
    if place.is_dir() and len(list(place.iterdir())) >= _MOST_SAVED:
        return None
    tensors = {
        f"{number}.{name}": value.detach().cpu().contiguous()
        for number, batch in enumerate(batches)
        for name, value in batch.items()
        if isinstance(value, Tensor)
    }
    texts = [
        {"index": index, "id": e.id, "language": e.language, "text": e.text, "target": e.target}
        for index, e in examples
    ]
    about = {name: str(value) for name, value in figures.items()}  # JSON has no NaN
    final = place / f"update-{figures['update']}"
    with rename_when_complete(final) as temporary:
        save_file(tensors, temporary / "batch.safetensors")
        text = json.dumps({**about, "examples": texts}, ensure_ascii=False, indent=2)
        (temporary / "batch.json").write_text(text + "\n", encoding="utf-8")
    return final


def go_on_or_stop(
    record: Record, figures: Mapping[str, float], saved: Path | None, *, limit: int | None
) -> None:
    """Say that an update was no good, and whether that is the end.

    Args:
        record: Of the stage; the update is in it.
        figures: ``update`` and those that may be no numbers.
        saved: Where its batch is.
        limit: Stop at so many in a row; None if it has been made already, so that no weight is left
            to go on with.

    Raises:
        TrainingError: There were so many.
    """
    what = ", ".join(f"{name} {value}" for name, value in figures.items())
    made = "has spoilt the weights" if limit is None else "was not made"
    message = f"{what}: this update {made}" + (f"; its batch is in {saved}" if saved else "")
    if limit is None:
        raise TrainingError(
            f"{message}. Start again under DDP or FSDP2, which leave such updates out, or {_REMEDY}"
        )
    row = bad_in_a_row(record.losses)
    if row < limit:
        logging.getLogger(__name__).warning(message)
        return
    raise TrainingError(
        f"{message}. It is number {row} in a row (max_bad_steps). Earlier checkpoints are intact: "
        f"resume if the machine was at fault; else {_REMEDY}"
    )


@contextmanager
def explained_anomaly() -> Iterator[None]:
    """Turn what torch's anomaly detection finds into an error of ours.

    Raises:
        TrainingError: It has found something; torch's warning before says where.
    """
    try:
        yield
    except RuntimeError as error:
        if not torch.is_anomaly_enabled():
            raise
        raise TrainingError(
            f"{error}; the warning above says where in the forward pass it was computed"
        ) from error
