"""Sizes of published backbones, so that one can plan with them before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

_LLAMA_2_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
}

KNOWN_SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "google/mt5-xl": {
            "model_type": "mt5",
            "vocab_size": 250112,
            "d_model": 2048,
            "d_kv": 64,
            "d_ff": 5120,
            "num_layers": 24,
            "num_heads": 32,
        },
        "meta-llama/Llama-2-7b-hf": _LLAMA_2_7B,
        "meta-math/MetaMath-7B-V1.0": {**_LLAMA_2_7B, "vocab_size": 32001},
    }
)
"""What decides size and arithmetic in the ``config.json`` of each, by hub id."""


def known_config(name: str) -> PreTrainedConfig | None:
    """Configuration of a published backbone by its hub id; None for one that is not known."""
    if name not in KNOWN_SIZES:
        return None
    values = dict(KNOWN_SIZES[name])
    config: PreTrainedConfig = CONFIG_MAPPING[values.pop("model_type")](**values)
    config.name_or_path = name
    return config
