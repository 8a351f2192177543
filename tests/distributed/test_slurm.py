"""The SLURM script, with something in the place of SLURM that says what it was asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from layalign.cli.main import make_parser

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "recipes" / "slurm" / "train.sbatch"


def test_what_it_starts(tmp_path: Path) -> None:
    answers = {
        "scontrol": "printf 'first\\nsecond\\n'",
        "srun": 'printf "%s\\n" "$SRUN_CPUS_PER_TASK" "$@"',
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = {
        **{"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[1-2]"},
        **{"SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "32"},
    }
    command = ["bash", str(SCRIPT), "own.yaml", "--set", "seed=2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cores, *words = done.stdout.splitlines()
    assert cores == "32"
    assert "--cpus-per-task=32" in SCRIPT.read_text("utf-8")
    assert "first:29500" in words
    args = make_parser().parse_args(words[words.index("layalign") + 1 :])
    assert (args.command, args.recipe, args.resume) == ("train", "own.yaml", True)
    assert args.set == ["seed=2"]
