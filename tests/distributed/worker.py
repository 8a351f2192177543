"""What each of several processes does: train a stage, tokenise, or run a command.

Usage: ``worker.py stage FOLDER JSON``, ``worker.py tokenise FOLDER FAILING`` or ``worker.py
command ARGUMENT …``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate import DistributedType, PartialState
from torch import distributed

from factories import make_model, make_processor
from layalign import processes
from layalign.cli.main import main
from layalign.data import Example, tables
from layalign.data.tables import ExampleTable
from layalign.errors import DataError
from layalign.train import StageConfig, train_stage
from layalign.train.sharding import is_sharded

# Micro-batches of two, so that gradients are accumulated; 1.9 epochs of 22 examples, so that the
# last update is a small one that the processes cannot share evenly. A large eps, because Adam would
# turn rounding errors of tiny gradients into steps.
CONFIG: dict[str, Any] = {
    **{"lr": 1e-2, "gate_lr": 5e-2, "eps": 1e-3, "batch_size": 8, "micro_batch_size": 2},
    **{"epochs": 1.9, "eval_every": 2, "keep_best": False, "keep_checkpoints": 9},
}


def make_examples(count: int) -> list[Example]:
    """Of very different lengths, in two languages."""
    words = {"sw": ["tatu", "mbili", "nne"], "en": ["three", "two", "four"]}
    made = []
    for i in range(count):
        language = "sw" if i % 3 else "en"
        text, target = (
            " ".join(words[tag][(i + j * j) % 3] for j in range(1 + i * i % 7))
            for tag in (language, "en")
        )
        made.append(Example(text=text, language=language, target=target, id=str(i)))
    return made


def train(folder: Path, changes: dict[str, Any]) -> None:
    resume, failing = changes.pop("resume", False), changes.pop("failing", None)
    model = make_model(gate=0.0)
    dtype = getattr(torch, changes.pop("backbones", "float32"))
    model.encoder.to(dtype)
    model.language_model.to(dtype)
    if processes.rank() > 0:  # whatever the others begin with, the main process decides
        with torch.no_grad():
            model.gates.add_(1.0)
    if failing is not None and processes.rank() == failing:
        model.register_forward_hook(fail_late)
    result = train_stage(
        model,
        make_processor(prompt_template="{question} = the answer is"),
        make_examples(22),
        StageConfig(**{**CONFIG, **changes}),
        output_dir=folder,
        dev_examples=make_examples(9),
        resume=resume,
    )
    if processes.is_main():
        found = {**result.to_dict(), "sharded": is_sharded(model)}
        (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")


def tokenise(folder: Path, failing: str) -> None:
    """Tokenise what the main process has read, and leave which examples that were."""
    made: list[int] = []

    def encode(index: int, example: Example) -> dict[str, list[int]]:
        if processes.rank() == int(failing):
            raise DataError("cannot be tokenised")
        made.append(index)
        return {"ids": [index, *example.text.encode()]}

    def read() -> ExampleTable:
        folder.mkdir(exist_ok=True)
        return ExampleTable.write(make_examples(22), folder / "a.arrow", print)

    table = processes.by_main(read)
    with patch.object(tables, "_PART", 4):
        # Keys differ where tokenizers cannot be compared.
        ids = table.tokenised(encode, {"ids": "int32"}, key=str(processes.rank()))["ids"]
    found = {"made": made, "ids": list(ids)}
    (folder / f"{processes.rank()}.json").write_text(json.dumps(found), encoding="utf-8")


def fail_late(module: Any, *_: Any, calls: list[int] = []) -> Any:  # noqa: B006
    """Give one process a loss that is no number, in its third update."""
    calls.append(1)
    if len(calls) == 11:
        module.gates.data.fill_(torch.nan)


@contextmanager
def as_on_gpus() -> Iterator[None]:
    """Let accelerate do with CPUs what it otherwise does with GPUs alone: FSDP and DeepSpeed."""
    distributed.init_process_group("gloo")
    found = ("gloo", DistributedType.MULTI_GPU)
    with patch.object(PartialState, "_prepare_backend", lambda *_: found):
        yield
    distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    is_spread = "ACCELERATE_TORCH_DEVICE" in os.environ
    what, *rest = sys.argv[1:]
    status = 0
    with as_on_gpus() if is_spread else processes.joined():
        if what == "stage":
            train(Path(rest[0]), json.loads(rest[1]))
        elif what == "tokenise":
            tokenise(Path(rest[0]), rest[1])
        else:
            status = main(rest)
    sys.exit(status)
