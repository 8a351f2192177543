"""``layalign bench``: what it hands on, what it refuses, what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import layalign.bench
from layalign.bench import Setup
from layalign.cli.main import main
from layalign.train.footprint import Lengths

BACKBONES = ("--encoder", "mt5:layers=2,width=16,heads=2", "--llm", "llama:layers=2", "--device")
ROW = {"batch": 8, "new_tokens": 64, "ratio_to_bare": 1.05, "ratio_to_published": None}
FOUND = {
    "setup": {"dtype": "float32"},
    "machine": {
        "device": "a machine",
        "threads": 1,
        "matmul_tflops_per_second": 0.5,
        "copy_gb_per_second": 10.0,
    },
    "rows": [ROW],
}
Calls = list[tuple[str, Setup, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    made: Calls = []

    def spy(name: str) -> Any:
        def call(setup: Setup, **kwargs: Any) -> dict[str, Any]:
            kwargs.pop("progress", None)
            made.append((name, setup, kwargs))
            return FOUND

        return call

    for name in ("bench_generation", "bench_training", "bench_loading"):
        monkeypatch.setattr(layalign.bench, name, spy(name))
    return made


def test_defaults_are_those_of_the_functions(calls: Calls) -> None:
    for action in ("generate", "train", "load"):
        assert main(["bench", action, *BACKBONES, "cpu", "--random-weights"]) == 0
    lengths = Lengths(encoder=64, prompt=64, target=64)
    work = {"repeats": 5, "lengths": lengths, "published": True}
    setup = Setup(encoder=BACKBONES[1], llm=BACKBONES[3], random_weights=True)
    assert calls == [
        ("bench_generation", setup, work),
        ("bench_training", setup, work),
        ("bench_loading", setup, {"repeats": 5, "checkpoint": None}),
    ]


def test_everything_said(calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    said = ["--batch", "1,4", "--new-tokens", "3", "--repeats", "7", "--dtype", "bfloat16"]
    said += ["--encoder-length", "9", "--no-published", "--json", "--output", str(file)]
    assert main(["--quiet", "bench", "generate", *BACKBONES, "cpu", *said]) == 0
    _, setup, work = calls[0]
    assert (setup.dtype, setup.random_weights) == ("bfloat16", False)
    assert work == {
        "batches": (1, 4),
        "new_tokens": (3,),
        "repeats": 7,
        "lengths": Lengths(encoder=9, prompt=64, target=64),
        "published": False,
    }
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text()) == FOUND


def test_the_table(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "generate", *BACKBONES, "cpu"]) == 0
    out = capsys.readouterr().out
    assert "a machine, 1 threads, float32: matrix products 0.5 TFLOP/s, copying 10 GB/s" in out
    assert "1.05 ×" in out
    assert "To published" not in out.split("\n\n")[0]


def test_a_checkpoint_knows_its_backbones(calls: Calls, tiny_checkpoint: Path) -> None:
    assert main(["bench", "load", "--checkpoint", str(tiny_checkpoint), "--device", "cpu"]) == 0
    name, setup, work = calls[0]
    assert (name, work["checkpoint"]) == ("bench_loading", str(tiny_checkpoint))
    assert setup.llm == str(tiny_checkpoint / "language_model")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["walk"], "invalid choice: 'walk'"),
        (["generate", "--llm", "x"], "--encoder and --llm are needed"),
        (["train", *BACKBONES, "cpu", "--new-tokens", "3"], "--new-tokens does not apply to"),
        (["load", *BACKBONES, "cpu", "--batch", "3"], "--batch does not apply to bench load"),
        (["load", "--llm", "x", "--checkpoint", "y"], "--llm excludes --checkpoint"),
        (["generate", *BACKBONES, "cpu", "--batch", "0"], "whole number of at least 1, got '0'"),
        (["generate", *BACKBONES, "cpu", "--dtype", "int8"], "invalid choice: 'int8'"),
    ],
)
def test_wrong_usage(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *argv])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_wrong_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "generate", *BACKBONES, "cpu", "--random-weights"]) == 2
    assert "'llama:layers=2' lacks width, heads" in capsys.readouterr().err
