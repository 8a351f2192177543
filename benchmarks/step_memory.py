"""Memory of a training step at the paper's widths, at a few depths and at the paper's.

    python benchmarks/step_memory.py --docs
    python benchmarks/step_memory.py --batch 1          # a trial

mT5-xl and Llama-2-7B need more memory than many machines have. Every layer takes as much as the one
before it, so a line through depths that do fit gives what all 32 and 24 layers take. Beside it
stands what the plan says. Weights are random, in bfloat16. On a processor the C library gives freed
memory back at once, or it would count too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layalign.bench import Setup
from layalign.bench.setup import usual_device
from layalign.bench.training import step_memory
from layalign.eval.report import write_json
from layalign.planning import Setup as Devices
from layalign.planning import find_device
from layalign.train.footprint import Lengths
from tables import fill, markdown
from targets import LONG, MEMORY, at_most
from validate_plan import RETURNING, planned

DEPTHS = (4, 8, 12)
FULL = 32
_PER_ENCODER_LAYER = 4 / 3  # layers of Llama-2-7B for each of mT5-xl's
_PARTS = ("weights", "gradients", "activations")  # the step that is measured has no optimizer
Row = dict[str, Any]


def models(layers: int) -> dict[str, str]:
    """Both models with so many layers of the LLM, and of the encoder in proportion."""
    encoder = round(layers / _PER_ENCODER_LAYER)
    return {
        "encoder": f"mt5:layers={encoder},width=2048,heads=32,head_dim=64,ff=5120,vocab=250112",
        "llm": f"llama:layers={layers},width=4096,heads=32,ff=11008,vocab=32000",
    }


def planned_gib(layers: int, lengths: Lengths, batch: int) -> float:
    """What the plan says of such a step."""
    names = models(layers)
    stage = {
        "batch_size": batch,
        "micro_batch_size": batch,
        "encoder_max_length": lengths.encoder,
        "prompt_max_length": lengths.prompt,
        "target_max_length": lengths.target,
    }
    backbones = {"encoder": names["encoder"], "language_model": names["llm"]}
    setup = Devices(device=find_device("h200-141gb"))  # any: memory does not depend on it
    row = planned(stage, backbones, setup, dtype="bfloat16")
    return sum(row["memory"][part] for part in _PARTS) / 2**30


def measure(layers: int, lengths: Lengths, batch: int, device: str) -> Row:
    """One depth, in processes of its own."""
    print(f"{layers} layers", file=sys.stderr)
    setup = Setup(**models(layers), random_weights=True, dtype="bfloat16", device=device)
    return {
        "layers": layers,
        **step_memory(setup, lengths, batch),
        "planned_gib": planned_gib(layers, lengths, batch),
    }


def extrapolate(rows: Sequence[Row], lengths: Lengths, batch: int) -> Row:
    """The paper's depth on the lines through those that were measured."""
    depths = [row["layers"] for row in rows]
    own, bare = (
        float(np.polyval(np.polyfit(depths, [row[name] for row in rows], 1), FULL))
        for name in ("memory_gib", "bare_memory_gib")
    )
    return {
        "layers": FULL,
        "memory_gib": own,
        "bare_memory_gib": bare,
        "memory_ratio": own / bare,
        "planned_gib": planned_gib(FULL, lengths, batch),
    }


def table(rows: Sequence[Row], full: Row, batch: int) -> str:
    """All depths in Markdown, and whether the target is met."""
    columns = ("LLM layers", "Encoder", "LayAlign, GiB", "Bare LLM, GiB", "Ratio", "Planned, GiB")
    cells = []
    for row in (*rows, full):
        layers = str(row["layers"])
        names = ("memory_gib", "bare_memory_gib", "memory_ratio", "planned_gib")
        cells.append(
            (
                f"{layers}, from the lines" if row is full else layers,
                str(round(row["layers"] / _PER_ENCODER_LAYER)),
                *(f"{row[name]:.2f}" for name in names),
            )
        )
    verdict = at_most("", MEMORY, full["memory_ratio"], "bare LLM")
    return (
        f"{markdown(columns, cells)}\n\n"
        f"At the paper's depth {verdict.found} (target {verdict.target}): {verdict.verdict}. "
        f"Batch {batch}, torch {torch.__version__}."
    )


def main() -> None:
    """Measure, print the table and write everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default=usual_device())
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--depths", type=int, nargs="+", default=DEPTHS, help="two or more, of the LLM"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    parser.add_argument("--docs", action="store_true", help="put the table into the documentation")
    args = parser.parse_args()
    if len(set(args.depths)) < 2:
        parser.error("a line needs two depths")
    os.environ.update(RETURNING)  # for the processes that are measured
    rows = [measure(layers, LONG, args.batch, args.device) for layers in args.depths]
    full = extrapolate(rows, LONG, args.batch)
    text = table(rows, full, args.batch)
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(args.output / "step_memory.json", {"rows": rows, "full": full})
    if args.docs:
        fill("step-memory", text)


if __name__ == "__main__":
    main()
