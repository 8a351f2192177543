"""The weights that are read are those of the module."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from factories import make_model
from layalign.analysis.weights import read_weights
from layalign.errors import CheckpointError


def change(folder: Path, **tensors: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | tensors, file)


def test_mixing_is_that_of_the_module(tmp_path: Path) -> None:
    model = make_model(encoder_layers=[3, 0, 2])
    model.save_pretrained(tmp_path)
    found = read_weights(tmp_path)
    assert found.encoder_layers == [3, 0, 2]
    assert found.language_layers == [0, 1]
    assert found.gates == pytest.approx(model.gates.tolist())
    # One encoder state alone, all ones: what the mixing gives is its weight.
    for column in range(3):
        states = torch.zeros(3)
        states[column] = 1.0
        mixed = (model.aligner.mix(states) - model.aligner.mix(torch.zeros(3))).detach()
        assert found.keys is not None
        assert found.values is not None
        assert found.keys[:, column] == pytest.approx(mixed[0::2].numpy(), abs=1e-6)
        assert found.values[:, column] == pytest.approx(mixed[1::2].numpy(), abs=1e-6)
    assert found.keys.dtype == found.values.dtype == np.float32


def test_without_an_aligner_there_is_nothing(tmp_path: Path) -> None:
    make_model(aligner="none").save_pretrained(tmp_path)
    found = read_weights(tmp_path)
    assert (found.encoder_layers, found.language_layers, found.gates) == ([], [], [])
    assert found.keys is None
    assert found.values is None


def test_gates_of_heads_are_averaged(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    change(tmp_path, gates=torch.tensor([[0.0, 1.0], [2.0, 4.0]]))
    assert read_weights(tmp_path).gates == [0.5, 3.0]


def test_a_gate_that_depends_on_the_state_is_no_number(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    change(tmp_path, gate_map=torch.zeros(2, 32))
    assert all(math.isnan(gate) for gate in read_weights(tmp_path).gates)


def test_no_checkpoint(tmp_path: Path, tiny_language_model: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_weights(tmp_path)
    with pytest.raises(CheckpointError, match="is a plain language model; expected a checkpoint"):
        read_weights(tiny_language_model)
