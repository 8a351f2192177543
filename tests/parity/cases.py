"""Reading the numerical reference cases; see the README beside them for the format."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from layalign.model import LayAlignModel

DEFAULT_DIR = Path(__file__).resolve().parents[3] / "shared" / "parity"
PARITY_DIR = Path(os.environ.get("PARITY_DIR", DEFAULT_DIR)).resolve()


def case_folders() -> list[Path]:
    """Every folder that holds a case; empty when the reference numbers are not there."""
    return sorted(path.parent for path in PARITY_DIR.glob("*/case.json"))


@dataclass
class Case:
    """One reference case: configuration, inputs and expected numbers."""

    folder: Path

    @cached_property
    def info(self) -> dict[str, Any]:
        return json.loads((self.folder / "case.json").read_text())

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "inputs.safetensors")

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return load_file(self.folder / "expected.safetensors")

    @property
    def tolerances(self) -> dict[str, float]:
        return self.info["tolerances"]

    @property
    def has_padding(self) -> bool:
        return self.info["has_padding"]

    def prefix(self, published: bool) -> str:
        """Where batch values stand; without padding both readings coincide."""
        return "" if published or not self.has_padding else "combined."

    @property
    def n_rows(self) -> int:
        return len(self.inputs["encoder_input_ids"])

    def names(self) -> dict[str, str]:
        """Our parameter names, each with the published one."""
        layers = self.info["layalign"]["language_layers"]
        names = {
            "adapter.linear1": "mapping.mlp.linear1",
            "adapter.linear2": "mapping.mlp.linear2",
            "aligner.mix": "encoder_aligner.projector.fc1",
            "aligner.project": "encoder_aligner.projector.fc2",
        }
        if self.info["layalign"]["structure"] == "MLP":
            names["aligner.refine"] = "encoder_aligner.projector.fc3"
        full = {
            f"{ours}.{part}": f"{theirs}.{part}"
            for ours, theirs in names.items()
            for part in ("weight", "bias")
        }
        full["adapter.boundary"] = "mapping.end_boundary"
        for slot, layer in enumerate(layers):
            full[f"gates.{slot}"] = f"model_llm.model.model.layers.{layer}.self_attn.adaption_gate"
        return full

    def tensors(self, source: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
        """Values under published names, put under ours (``gates`` stacked)."""
        values = {ours: source[prefix + theirs] for ours, theirs in self.names().items()}
        gates = [values.pop(name) for name in list(values) if name.startswith("gates.")]
        values["gates"] = torch.cat(gates)
        values["adapter.boundary"] = values["adapter.boundary"].reshape(-1)
        return values

    def model(self, *, published: bool, attn_implementation: str = "sdpa") -> LayAlignModel:
        """Build the case's model, in the published behaviour or in ours."""
        settings = self.info["layalign"]
        model = LayAlignModel.from_backbones(
            str(self.folder / "encoder"),
            str(self.folder / "llm"),
            dtype=torch.float32,
            attn_implementation=attn_implementation,
            encoder_layers=settings["encoder_layers"],
            language_layers=settings["language_layers"],
            aligner=settings["structure"].lower(),
            bos_token_id=settings["llm_bos_token_id"],
            mask_encoder_padding=not published,
            mask_position_ids=not published,
        )
        state = load_file(self.folder / "official_state.safetensors")
        parameters = dict(model.named_parameters())
        for name, value in self.tensors(state).items():
            parameters[name].data.copy_(value)
        return model

    def batch(self, stage: int) -> dict[str, Tensor]:
        """Training input of a stage: prompt (stage 2) and labels as one text."""
        ids, mask = self.inputs["label_ids"], self.inputs["label_mask"]
        labels = ids.masked_fill(mask == 0, -100)
        if stage == 2:
            prompt, prompt_mask = self.inputs["prompt_ids"], self.inputs["prompt_mask"]
            ids, mask = torch.cat([prompt, ids], 1), torch.cat([prompt_mask, mask], 1)
            labels = torch.cat([torch.full_like(prompt, -100), labels], 1)
        return {
            "encoder_input_ids": self.inputs["encoder_input_ids"],
            "encoder_attention_mask": self.inputs["encoder_attention_mask"],
            "input_ids": ids,
            "attention_mask": mask,
            "labels": labels,
        }

    def prompt(self, stage: int) -> dict[str, Tensor]:
        """Generation input of a stage."""
        batch = {key: self.inputs[key] for key in ("encoder_input_ids", "encoder_attention_mask")}
        if stage == 2:
            batch["input_ids"] = self.inputs["prompt_ids"]
            batch["attention_mask"] = self.inputs["prompt_mask"]
        return batch
