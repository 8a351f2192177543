"""Compare what ``layalign plan`` says with training steps on this machine's processor.

    python benchmarks/validate_plan.py --docs
    python benchmarks/validate_plan.py --scale 0.25 --updates 3

Random weights of a few sizes are trained for some updates. The device that is planned with is this
processor: its matrix products and copies are measured first. Time is the median of the updates
after the first. Memory is the most that a second process takes above what it had before the models
were there; in that one the C library gives freed memory back at once, or it would count too.
Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, LlamaConfig

from layalign.bench.setup import Setup as Backbones
from layalign.bench.setup import make_inputs
from layalign.memory import memory_gib, peak_memory_gib
from layalign.planning import Device, Setup, plan_training
from layalign.planning.machine import measured_cpu
from layalign.train.footprint import Lengths
from layalign.train.recipe import Recipe
from layalign.train.stages import StageConfig
from layalign.train.trainer import activations_checkpointed, composite_loss
from tables import fill, markdown

TARGETS = {"memory": 15.0, "time": 30.0}  # percent
PAGE = Path(__file__).parents[1] / "docs" / "planning.md"
UTILISATION = 0.9  # of the best product of square matrices; those of a small model are smaller
# glibc asks the system for whatever is larger than this, and gives it back when it is freed.
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}
QUESTION = Lengths(encoder=64, prompt=64, target=128)
PAIR = Lengths(encoder=100, prompt=0, target=100)
LONG = Lengths(encoder=200, prompt=200, target=200)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One size, and how it is trained."""

    layers: int
    width: int
    lengths: Lengths
    batch: int = 8
    passes: int = 1
    checkpointing: bool = False

    def stage(self) -> dict[str, Any]:
        """The stage of a recipe; every example is as long as allowed."""
        allowed = dataclasses.asdict(self.lengths)
        return {
            **{f"{part}_max_length": length for part, length in allowed.items() if length},
            "batch_size": self.batch * self.passes,
            "micro_batch_size": self.batch,
            "gradient_checkpointing": self.checkpointing,
            **({} if self.lengths.prompt else {"prompt_template": ""}),
        }


CASES = {
    "questions": Case(layers=8, width=512, lengths=QUESTION),
    "two passes": Case(layers=8, width=512, lengths=QUESTION, passes=2),
    "pairs": Case(layers=8, width=512, lengths=PAIR, batch=16),
    "long": Case(layers=8, width=512, lengths=LONG),
    "deep": Case(layers=24, width=384, lengths=PAIR),
    "wide": Case(layers=4, width=1536, lengths=PAIR),
    "checkpointed": Case(layers=16, width=512, lengths=QUESTION, checkpointing=True),
}


def write_configurations(case: Case, folder: Path) -> dict[str, str]:
    """Write an encoder like a small multilingual BERT and a Llama of the case's size."""
    sizes = {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536}
    encoder = BertConfig(vocab_size=50_000, num_attention_heads=6, **sizes)
    language_model = LlamaConfig(
        num_hidden_layers=case.layers,
        hidden_size=case.width,
        intermediate_size=8 * case.width // 3,
        num_attention_heads=case.width // 64,
    )
    paths = {}
    for role, config in (("encoder", encoder), ("language_model", language_model)):
        paths[role] = str(folder / f"{role}.json")
        config.to_json_file(paths[role], use_diff=False)
    return paths


def predict(case: Case, backbones: dict[str, str], device: Device) -> tuple[float, float]:
    """GiB, and seconds of an update, as the plan says."""
    row = planned(case.stage(), backbones, Setup(device=device, utilisation=UTILISATION))
    return row["memory"]["total"] / 2**30, row["seconds_per_update"]


def planned(
    stage: dict[str, Any], backbones: dict[str, str], setup: Setup, dtype: str = "float32"
) -> dict[str, Any]:
    """What the plan says of a task stage on one device, all examples as long as allowed."""
    recipe = {
        "output_dir": "out",
        "dtype": dtype,
        "model": backbones,
        "data": {"task": {"train": [{"path": "none.jsonl"}]}},
        "stage": {"task": stage},
    }
    (row,) = plan_training(Recipe.from_dict(recipe), setup)["stages"]["task"]["strategies"]
    found: dict[str, Any] = row
    return found


def measure(case: Case, backbones: dict[str, str], updates: int) -> tuple[float, float]:
    """GiB, and seconds of an update, in a process of its own each."""
    _, seconds = in_new_process({}, case, backbones, updates)
    gib, _ = in_new_process(RETURNING, case, backbones, 1)
    return gib, seconds


def in_new_process(variables: dict[str, str], *args: Any) -> tuple[float, float]:
    """Run :func:`train` with some variables in the environment."""
    os.environ.update(variables)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(train, *args).result()
    finally:
        for name in variables:
            del os.environ[name]


def train(case: Case, backbones: dict[str, str], updates: int) -> tuple[float, float]:
    """Train for some updates; return what :func:`measure` does."""
    torch.ones(64, 64) @ torch.ones(64, 64)  # what libraries take when they are first used
    before = memory_gib()
    names = {"encoder": backbones["encoder"], "llm": backbones["language_model"]}
    model = Backbones(**names, random_weights=True).model().train()
    inputs = make_inputs(model, case.lengths, case.batch, targets=True)
    optimizer = torch.optim.AdamW(
        [model.get_parameter(name) for name in model.trainable_names()], fused=True
    )
    seconds = []
    with activations_checkpointed(model.language_model, StageConfig(**case.stage())):
        for _ in range(updates + 1):
            start = time.perf_counter()
            optimizer.zero_grad()
            for _ in range(case.passes):
                composite_loss(model, inputs, None).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
    peak = peak_memory_gib()
    if before is None or peak is None:
        raise SystemExit("memory of a process can be told on Linux only")
    return peak - before, statistics.median(seconds[1:])


def compare(name: str, case: Case, device: Device, updates: int) -> dict[str, Any]:
    """One row: what was predicted, what was measured, and how far apart they are in percent."""
    with tempfile.TemporaryDirectory() as folder:
        backbones = write_configurations(case, Path(folder))
        predicted = predict(case, backbones, device)
        measured = measure(case, backbones, updates)
    off = [100 * (said / found - 1) for said, found in zip(predicted, measured, strict=True)]
    return {
        "case": name,
        **dict(zip(("predicted_gib", "predicted_seconds"), predicted, strict=True)),
        **dict(zip(("measured_gib", "measured_seconds"), measured, strict=True)),
        **dict(zip(("memory_off", "time_off"), off, strict=True)),
    }


def table(rows: list[dict[str, Any]], device: Device) -> str:
    """All rows in Markdown, whether they meet the targets, and on what."""
    columns = ("Case", "GiB planned", "measured", "off", "s planned", "measured", "off")
    cells = [
        (
            row["case"],
            *(_cell(row, name) for name in ("predicted_gib", "measured_gib", "memory_off")),
            *(_cell(row, name) for name in ("predicted_seconds", "measured_seconds", "time_off")),
        )
        for row in rows
    ]
    lines = [markdown(columns, cells), ""]
    for what, target in TARGETS.items():
        worst = max(abs(row[f"{what}_off"]) for row in rows)
        verdict = "met" if worst <= target else "missed"
        lines.append(f"* {what} within {target:.0f} %: {verdict}, at most {worst:.0f} % off")
    lines.append(
        f"* measured with torch {torch.__version__}, {torch.get_num_threads()} threads, products "
        f"of {device.flops_float32 / 1e9:.0f} GFLOP/s and {device.bandwidth / 1e9:.0f} GB/s"
    )
    return "\n".join(lines)


def _cell(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:+.0f} %" if name.endswith("off") else f"{row[name]:.2f}"


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=5, help="timed updates (default: 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the batches, for a trial")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/planning.md")
    args = parser.parse_args()
    device = measured_cpu()
    rows = []
    for name in args.cases:
        batch = max(1, round(CASES[name].batch * args.scale))
        case = dataclasses.replace(CASES[name], batch=batch)
        rows.append(compare(name, case, device, args.updates))
    if args.json:
        print(json.dumps({"device": dataclasses.asdict(device), "rows": rows}, indent=2))
    else:
        print(table(rows, device))
    if args.docs:
        fill("validation", table(rows, device), PAGE)


if __name__ == "__main__":
    main()
