"""One stage, by one process and by several that share the work: the same run.

What may differ is rounding: sums over examples are formed in another order. In float32 and with
losses of about 4 nats that is a few times 1e-7.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distributed.launching import finish, launch, start
from layalign.durable import damage

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

WORKER = str(Path(__file__).with_name("worker.py"))
ROUNDING = {"rel": 1e-6, "abs": 1e-6}
WAYS = {"one process": ("ddp", 1), "DDP": ("ddp", 2), "FSDP2": ("fsdp2", 2)}


def train(folder: Path, way: str, **changes: Any) -> dict[str, Any]:
    shared_by, count = WAYS[way]
    folder.mkdir(exist_ok=True)
    arguments = [WORKER, "stage", str(folder), json.dumps(changes)]
    launch(arguments, processes=count, shared_by=shared_by)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def assert_same(one: Path, other: Path) -> None:
    """Losses, development losses, what was read, and all weights."""
    found, expected = (json.loads((folder / "result.json").read_text()) for folder in (one, other))
    assert found["losses"] == pytest.approx(expected["losses"], **ROUNDING)
    assert len(found["dev"]) == len(expected["dev"]) == 3
    for dev, wanted in zip(found["dev"], expected["dev"], strict=True):
        assert dev["languages"] == pytest.approx(wanted["languages"], **ROUNDING)
    for name in ("updates", "examples", "tokens", "trained_parameters", "truncations"):
        assert found[name] == expected[name], name
    files = (folder / "checkpoint-6" / "model.safetensors" for folder in (one, other))
    weights, wanted = map(load_file, files)
    assert weights.keys() == wanted.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, wanted[name], rtol=1e-6, atol=1e-6, msg=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    folders = {way: root / way.replace(" ", "-") for way in WAYS}
    for way, folder in folders.items():
        train(folder, way)
    return folders


@pytest.mark.parametrize("way", ["DDP", "FSDP2"])
def test_the_number_of_processes_changes_nothing(runs: dict[str, Path], way: str) -> None:
    assert_same(runs[way], runs["one process"])
    assert json.loads((runs[way] / "result.json").read_text())["sharded"] == (way == "FSDP2")


def test_checkpoints_are_the_same_files(runs: dict[str, Path]) -> None:
    names = {
        way: {file.name for file in (folder / "checkpoint-4").iterdir()}
        for way, folder in runs.items()
    }
    assert names["DDP"] == names["FSDP2"]
    assert names["DDP"] - names["one process"] == {"rng_state_0.pth", "rng_state_1.pth"}
    assert names["one process"] - names["DDP"] == {"rng_state.pth"}
    assert not any(damage(folder / "checkpoint-4") for folder in runs.values())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("one process", "FSDP2"),
        *(
            pytest.param(*pair, marks=pytest.mark.deep)
            for pair in (("FSDP2", "DDP"), ("DDP", "one process"), ("FSDP2", "one process"))
        ),
    ],
)
def test_a_run_is_taken_up_another_way(
    runs: dict[str, Path], before: str, after: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs[before], folder)
    for name in ("checkpoint-6", "result.json"):
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    train(folder, after, resume=True)
    assert_same(folder, runs["one process"])


def test_no_number_in_one_process_is_none_in_all(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    process = start(
        [WORKER, "stage", str(folder), json.dumps({"failing": 1, "max_bad_steps": 1})], processes=2
    )
    printed = finish(process)
    assert process.returncode != 0
    assert "this update was not made" in printed
    (bad,) = (folder / "bad-updates").iterdir()
    about = json.loads((bad / "batch.json").read_text())
    assert len(about["examples"]) == 8
    # Four micro-batches, two of each process, in the order of the examples.
    assert {name.split(".")[0] for name in load_file(bad / "batch.safetensors")} == set("0123")
