"""Make a training run a checkpoint that ships with the package: bfloat16, and no tokenizers.

    python tools/ship_checkpoint.py runs/smollm2_e5_math smollm2-e5

The run's language model must be a LoRA on an embedded model. A model card is written by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from layalign.embedded.shipped import FOLDER
from layalign.model.checkpoint import LANGUAGE_MODEL_FOLDER, WEIGHTS_NAME
from layalign.model.lora import lora_base

LORA = ("adapter_config.json", "adapter_model.safetensors")
COPIED = ("config.json", "generation_config.json", "processor_config.json", "recipe.yaml")


def ship(run: Path, target: Path) -> None:
    """Write the few files that generation needs."""
    base = lora_base(str(run / LANGUAGE_MODEL_FOLDER))
    if base is None:
        sys.exit(f"the language model of {run} is no LoRA")
    (target / LANGUAGE_MODEL_FOLDER).mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(run / name, target / name)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    # What they are called, not where they were.
    config["language_model"] = base.name_or_path
    config["text_config"]["_name_or_path"] = base.name_or_path
    config["encoder_config"]["_name_or_path"] = config["encoder"]
    text = json.dumps(config, indent=2, sort_keys=True)
    (target / "config.json").write_text(text + "\n", encoding="utf-8")
    places = [WEIGHTS_NAME, f"{LANGUAGE_MODEL_FOLDER}/{LORA[1]}"]
    for place in places:
        state = {name: t.to(torch.bfloat16) for name, t in load_file(run / place).items()}
        save_file(state, target / place, metadata={"format": "pt"})
        (target / place).chmod(0o644)
    shutil.copyfile(run / LANGUAGE_MODEL_FOLDER / LORA[0], target / LANGUAGE_MODEL_FOLDER / LORA[0])
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), FOLDER / sys.argv[2])
