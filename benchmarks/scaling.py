"""Is a run the same, however its work is shared? The table of docs/scaling.md.

``PYTHONPATH=tests python benchmarks/scaling.py``: about two minutes on two cores. One stage of a
tiny model, in float32, by one process and by several.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file

from distributed.launching import ROOT, launch

WORKER = str(ROOT / "tests" / "distributed" / "worker.py")
WAYS = (
    ("1 process", 1, "ddp"),
    ("2 × DDP", 2, "ddp"),
    ("4 × DDP", 4, "ddp"),
    ("2 × FSDP2", 2, "fsdp2"),
    ("4 × FSDP2", 4, "fsdp2"),
    ("2 × ZeRO-2", 2, "zero2"),
    ("2 × ZeRO-3", 2, "zero3"),
)


class Run(NamedTuple):
    """What one way has given."""

    result: dict[str, Any]
    weights: dict[str, Any]


def run(folder: Path, processes: int, shared_by: str) -> Run:
    """Train once."""
    folder.mkdir()
    launch([WORKER, "stage", str(folder), "{}"], processes=processes, shared_by=shared_by)
    result = json.loads((folder / "result.json").read_text())
    return Run(result, load_file(folder / "checkpoint-6" / "model.safetensors"))


def row(name: str, found: Run, expected: Run) -> str:
    """One line of the table: largest differences from the first way."""
    pairs = zip(found.result["losses"], expected.result["losses"], strict=True)
    losses = max(abs(one - other) for one, other in pairs)
    pairs = zip(found.result["dev"], expected.result["dev"], strict=True)
    dev = max(abs(one["loss"] - other["loss"]) for one, other in pairs)
    weights = max(
        float((weight - expected.weights[key]).abs().max()) for key, weight in found.weights.items()
    )
    figures = " | ".join(f"{value:.1e}" for value in (losses, dev, weights))
    return f"| {name} | {figures} | {found.result['tokens']} |"


def main() -> None:
    """Print the table."""
    print("| Way | Loss | Development loss | Weights | Tokens |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        first = None
        for name, processes, shared_by in WAYS:
            if shared_by.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
                print(f"| {name} | not run: deepspeed is not installed | | | |")
                continue
            found = run(Path(folder) / name.replace(" ", ""), processes, shared_by)
            first = first or found
            print(row(name, found, first), flush=True)


if __name__ == "__main__":
    main()
