"""Language models whose frozen weights are stored in 8 bits."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, TorchAoConfig

from factories import make_batch, make_encoder, make_language_model
from layalign.errors import BackboneError
from layalign.model import LayAlignModel
from layalign.model.fingerprint import fingerprint

HAS_TORCHAO = importlib.util.find_spec("torchao") is not None


class Packed(Tensor):
    """Numbers of a class of their own, as quantisers make them; they cannot be looked at."""

    def reshape(self, *shape: int) -> Tensor:  # type: ignore[override]
        raise NotImplementedError


def test_what_cannot_be_read_has_no_fingerprint() -> None:
    model = nn.Linear(4, 4)
    assert fingerprint(model)
    model.weight = nn.Parameter(torch.zeros(4, 4).as_subclass(Packed), requires_grad=False)
    assert fingerprint(model) == ""


@pytest.mark.skipif(HAS_TORCHAO, reason="the package is there")
def test_a_missing_package_is_named(tmp_path: Path) -> None:
    make_language_model().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text("utf-8"))
    config["quantization_config"] = {"quant_method": "torchao", "quant_type": "int8_weight_only"}
    file.write_text(json.dumps(config), "utf-8")
    with pytest.raises(BackboneError, match="torchao"):
        LayAlignModel.from_backbones(make_encoder(), str(tmp_path))


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a language model as it is, and of the same in 8 bits."""
    quantization = pytest.importorskip("torchao.quantization", reason="needs torchao")
    folder = tmp_path_factory.mktemp("quantised")
    plain, packed = str(folder / "plain"), str(folder / "packed")
    make_language_model().save_pretrained(plain)
    settings = TorchAoConfig(quantization.Int8WeightOnlyConfig())
    AutoModelForCausalLM.from_pretrained(plain, quantization_config=settings).save_pretrained(
        packed
    )
    return {"plain": plain, "packed": packed}


def logits(model: Any, **inputs: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


def test_closed_gates_give_the_quantised_model(quantised: dict[str, str]) -> None:
    model = LayAlignModel.from_backbones(make_encoder(), quantised["packed"])
    assert type(model.language_model.model.layers[0].self_attn.k_proj.weight) is not nn.Parameter
    batch = make_batch(targets=False)
    inputs = model.assemble(**batch)
    alone = {name: inputs[name] for name in ("inputs_embeds", "attention_mask")}
    assert torch.equal(logits(model, **inputs), logits(model.language_model, **alone))
    nn.init.normal_(model.gates)
    inputs = model.assemble(**batch)
    assert not torch.equal(logits(model, **inputs), logits(model.language_model, **alone))


def test_it_is_trained_saved_and_swapped(quantised: dict[str, str], tmp_path: Path) -> None:
    """The checkpoint is of the trained parts alone, so the weights in full precision fit it too."""
    model = LayAlignModel.from_backbones(make_encoder(), quantised["packed"])
    nn.init.normal_(model.gates)
    model.train()
    batch = make_batch()
    model(**batch).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name in model.trainable_names())
    model.eval().save_pretrained(tmp_path)
    places = {"encoder": make_encoder(), "language_model": quantised["packed"]}
    again = LayAlignModel.from_pretrained(tmp_path, **places)
    assert torch.equal(logits(again, **batch), logits(model, **batch))
    places["language_model"] = quantised["plain"]
    full = LayAlignModel.from_pretrained(tmp_path, **places)
    torch.testing.assert_close(logits(full, **batch), logits(model, **batch), atol=0.05, rtol=0.05)
