"""Start a script as several processes on this machine, as ``torchrun`` does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
_MINUTES = 5


def start(
    arguments: Sequence[str], *, processes: int, shared_by: str = "ddp", **options: object
) -> subprocess.Popen[str]:
    """Start ``python ARGUMENTS`` several times.

    Args:
        arguments: A script and its arguments.
        processes: How many.
        shared_by: Name of one of the files in ``recipes/accelerate``.
        **options: Of ``Popen``.
    """
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command = [*launcher, f"--master-port={_free_port()}", *arguments]
    environment = {
        **os.environ,
        **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("src", "tests")),
        **sharing(shared_by),
    }
    return subprocess.Popen(
        [sys.executable, *command],
        **{
            "env": environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            **options,
        },
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end; return what was printed."""
    printed, _ = process.communicate(timeout=60 * _MINUTES)
    return printed


def launch(arguments: Sequence[str], **options: object) -> str:
    """Start and wait; return what was printed.

    Raises:
        AssertionError: It failed.
    """
    process = start(arguments, **options)
    printed = finish(process)
    assert process.returncode == 0, printed
    return printed


def sharing(name: str) -> dict[str, str]:
    """What ``accelerate launch`` puts into the environment for one of our configurations."""
    text = (ROOT / "recipes" / "accelerate" / f"{name}.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    on_cpu = {"ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
    if fsdp := values.get("fsdp_config"):
        found = {key.upper(): str(value) for key, value in fsdp.items()}
        return {**found, "ACCELERATE_USE_FSDP": "true", **on_cpu}
    if deepspeed := values.get("deepspeed_config"):
        return {
            "ACCELERATE_USE_DEEPSPEED": "true",
            "ACCELERATE_DEEPSPEED_ZERO_STAGE": str(deepspeed["zero_stage"]),
            **on_cpu,
        }
    return {}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
