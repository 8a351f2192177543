"""A run becomes a checkpoint that ships with the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from factories import save_backbones, save_lora
from layalign.generation import generate
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor
from scripts import tool


def test_only_what_generation_needs(
    put_on_hub: Callable[[str, Path, str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = save_backbones(tmp_path / "backbones")
    for role, place in places.items():
        put_on_hub(f"some/{role}", Path(place), "1" * 40)
    run = tmp_path / "run"
    save_lora("some/language_model", run / "language_model")
    (run / "language_model" / "finetune.json").write_text("{}", "utf-8")
    names = ("some/encoder", str(run / "language_model"))
    LayAlignModel.from_backbones(*names).save_pretrained(run)
    LayAlignProcessor.from_backbones(*names).save_pretrained(run)
    target = tmp_path / "shipped"
    tool("ship_checkpoint").ship(run, target)
    assert str(target) in capsys.readouterr().out
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*.*")) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "language_model/adapter_config.json",
        "language_model/adapter_model.safetensors",
        "model.safetensors",
        "processor_config.json",
    ]
    config = json.loads((target / "config.json").read_text("utf-8"))
    assert config["language_model"] == "some/language_model"
    for file in target.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.bfloat16}
    assert generate(target, ["ana mayai"], max_new_tokens=2)
    (target / "README.md").write_text("by hand", "utf-8")
    tool("ship_checkpoint").ship(run, target)
    assert (target / "README.md").read_text("utf-8") == "by hand"


def test_a_run_without_a_lora_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is no LoRA"):
        tool("ship_checkpoint").ship(tmp_path, tmp_path / "shipped")
