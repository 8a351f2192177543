"""Make a checkpoint that ships with the package of a run: exported, and without what is fetched.

    python tools/ship_checkpoint.py runs/smollm2_e5_math smollm2-e5

The run's language model must be a LoRA on an embedded model. A model card that is there is kept.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import torch

from layalign.embedded.shipped import FOLDER
from layalign.model.card import CARD_NAME
from layalign.model.checkpoint import LANGUAGE_MODEL_FOLDER
from layalign.model.lora import lora_base
from layalign.model.tokenizers import ENCODER_TOKENIZER_FOLDER, TOKENIZER_FOLDER
from layalign.publishing import export

LORA = ("adapter_config.json", "adapter_model.safetensors")


def ship(run: Path, target: Path) -> None:
    """Write the few files that generation needs."""
    if lora_base(str(run / LANGUAGE_MODEL_FOLDER)) is None:
        sys.exit(f"the language model of {run} is no LoRA")
    with tempfile.TemporaryDirectory() as folder:
        options = {"dtype": torch.bfloat16, "name": target.name, "licence": "apache-2.0"}
        made = export(run, Path(folder) / target.name, **options)
        for name in (ENCODER_TOKENIZER_FOLDER, TOKENIZER_FOLDER):  # the embedded models' own
            shutil.rmtree(made / name)
        for file in (made / LANGUAGE_MODEL_FOLDER).iterdir():
            if file.name not in LORA:
                file.unlink()
        if (target / CARD_NAME).is_file():
            shutil.copyfile(target / CARD_NAME, made / CARD_NAME)
        shutil.copytree(made, target, dirs_exist_ok=True)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), FOLDER / sys.argv[2])
