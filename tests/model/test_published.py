"""States in the layout of the authors' code, written here by hand, to our checkpoints and back."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factories import make_batch, make_encoder, make_language_model, make_model
from layalign.errors import CheckpointError, ConfigError
from layalign.model import LayAlignModel
from layalign.model.published import from_published, to_published

FIELDS: dict[str, Any] = {"aligner": "mlp", "encoder_layers": [3, 1], "language_layers": [1]}
PUBLISHED = {
    "mask_encoder_padding": False,
    "mask_position_ids": False,
    "frozen_backbones_eval": False,
}


def authors_state(model: LayAlignModel, *, backbones: bool = True) -> dict[str, Tensor]:
    """The state that the authors' code would have for a model of mT5 and Llama."""
    layers = model.config.language_layers
    ours = {name: model.get_parameter(name).detach().clone() for name in model.trainable_names()}
    state = {
        "mapping.end_boundary": ours["adapter.boundary"][None, None],
        **{
            f"mapping.mlp.linear{i}.{k}": ours[f"adapter.linear{i}.{k}"] for i in (1, 2) for k in WB
        },
    }
    for number, name in enumerate(("mix", "project", "refine"), start=1):
        for kind in WB if f"aligner.{name}.weight" in ours else ():
            state[f"encoder_aligner.projector.fc{number}.{kind}"] = ours[f"aligner.{name}.{kind}"]
    for slot, layer in enumerate(layers):
        gate = ours["gates"][slot : slot + 1].clone()
        state[f"model_llm.model.model.layers.{layer}.self_attn.adaption_gate"] = gate
    if not backbones:
        return state
    for name, value in model.encoder.encoder.state_dict().items():
        state[f"encoder_mt.{name}"] = value
    for name, value in model.language_model.state_dict().items():
        for layer in layers:
            own = f"model.layers.{layer}.self_attn."
            name = name.replace(own, own + "model.")
        state[f"model_llm.model.{name}"] = value
    state["llm_embedding_layer.weight"] = model.get_input_embeddings().weight.detach().clone()
    return state


WB = ("weight", "bias")


@pytest.fixture
def roles(tmp_path: Path) -> dict[str, str]:
    make_encoder("mt5").save_pretrained(tmp_path / "enc")
    make_language_model().save_pretrained(tmp_path / "llm")
    return {"encoder": str(tmp_path / "enc"), "language_model": str(tmp_path / "llm")}


@pytest.fixture
def model(roles: dict[str, str]) -> LayAlignModel:
    loaded = LayAlignModel.from_backbones(**roles)
    return make_model(loaded.language_model, loaded.encoder, **FIELDS, **PUBLISHED)


def convert(state: Path, roles: dict[str, str], **fields: Any) -> LayAlignModel:
    folder = state.parent / "converted"
    from_published(state, folder, **roles, **{"encoder_layers": [3, 1], **fields})
    return LayAlignModel.from_pretrained(folder)


def logits(model: LayAlignModel) -> Tensor:
    with torch.no_grad():
        return model(**make_batch()).logits


def write(path: Path, state: dict[str, Tensor], form: str) -> Path:
    """Write a state in one of the forms that can be read, and say where it is."""
    names = sorted(state)
    if form == "safetensors":
        save_file(state, path / "official.safetensors")
        return path / "official.safetensors"
    if form in ("bin", "pt", "old bin"):
        file = path / f"official.{form.split()[-1]}"
        torch.save(state, file, _use_new_zipfile_serialization=form != "old bin")
        return file
    suffix = form.split()[-1]
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    folder = path / "shards"
    folder.mkdir()
    places = {}
    for number, half in enumerate((names[::2], names[1::2])):
        shard = folder / f"{stem}-{number}.{suffix}"
        tensors = {name: state[name] for name in half}
        save_file(tensors, shard) if suffix == "safetensors" else torch.save(tensors, shard)
        places |= dict.fromkeys(half, shard.name)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder if form.startswith("folder") else index


FORMS = ("safetensors", "bin", "pt", "old bin", "sharded safetensors", "sharded bin", "folder bin")


@pytest.mark.parametrize("form", FORMS)
def test_a_state_becomes_the_same_model(
    form: str, model: LayAlignModel, roles: dict[str, str], tmp_path: Path
) -> None:
    found = convert(write(tmp_path, authors_state(model), form), roles)
    assert torch.equal(logits(found), logits(model))
    assert {name: getattr(found.config, name) for name in {**FIELDS, **PUBLISHED}} == {
        **FIELDS,
        **PUBLISHED,
    }
    assert found.config.fingerprints == model.config.fingerprints


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip(
    suffix: str, dtype: torch.dtype, model: LayAlignModel, roles: dict[str, str], tmp_path: Path
) -> None:
    expected = {k: v.to(dtype) for k, v in authors_state(model, backbones=False).items()}
    convert(write(tmp_path, expected, "bin"), roles)
    back = tmp_path / "new" / f"back.{suffix}"
    to_published(tmp_path / "converted", back)
    found = load_file(back) if suffix == "safetensors" else torch.load(back, weights_only=True)
    assert set(found) == set(expected)
    assert all(found[k].dtype == dtype and torch.equal(found[k], expected[k]) for k in expected)
    assert [path.name for path in back.parent.iterdir()] == [back.name]


def test_the_linear_aligner_and_all_layers(roles: dict[str, str], tmp_path: Path) -> None:
    loaded = LayAlignModel.from_backbones(**roles)
    model = make_model(loaded.language_model, loaded.encoder, **PUBLISHED)
    from_published(write(tmp_path, authors_state(model), "bin"), tmp_path / "new", **roles)
    found = LayAlignModel.from_pretrained(tmp_path / "new")
    assert found.config.aligner == "linear"
    assert torch.equal(logits(found), logits(model))


def test_config_fields(model: LayAlignModel, roles: dict[str, str], tmp_path: Path) -> None:
    state = write(tmp_path, authors_state(model), "bin")
    assert convert(state, roles, mask_encoder_padding=True).config.mask_encoder_padding


def test_no_weights_of_the_backbones_are_read(
    model: LayAlignModel, roles: dict[str, str], tmp_path: Path
) -> None:
    for folder in roles.values():
        (Path(folder) / "model.safetensors").unlink()
    state = write(tmp_path, authors_state(model), "bin")
    from_published(state, tmp_path / "new", **roles, encoder_layers=[3, 1])
    assert (tmp_path / "new" / "model.safetensors").is_file()


def test_the_backbones_in_the_file_are_remembered(
    model: LayAlignModel, roles: dict[str, str], tmp_path: Path
) -> None:
    """Other weights of the same sizes pass the conversion, which does not read them."""
    make_language_model(seed=8).save_pretrained(roles["language_model"])
    state = write(tmp_path, authors_state(model), "bin")
    with pytest.raises(CheckpointError, match="other language_model weights"):
        convert(state, roles)
    (tmp_path / "converted").rename(tmp_path / "first")
    convert(write(tmp_path, authors_state(model, backbones=False), "pt"), roles)
    (tmp_path / "converted").rename(tmp_path / "second")
    convert(state, roles, check_backbones=False)


def change(name: str, value: Tensor | None) -> Any:
    def apply(state: dict[str, Tensor]) -> None:
        state.pop(name, None)
        if value is not None:
            state[name] = value

    return apply


FC1 = "encoder_aligner.projector.fc1.weight"
GATE = "model_llm.model.model.layers.{}.self_attn.adaption_gate"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("mapping.mlp.linear1.bias", None), r"missing \['mapping.mlp.linear1.bias'\]"),
        (change("mapping.extra", torch.ones(1)), r"unexpected \['mapping.extra'\]"),
        (change("elsewhere", torch.ones(1)), r"unexpected \['elsewhere'\]"),
        (change(GATE.format(1), None), r"holds no .*layers\.N\.self_attn\.adaption_gate"),
        (change(GATE.format(7), torch.ones(1)), "gate for layer 7, .* only 2 layers"),
        (change(GATE.format(0), torch.ones(1)), r"fc1.bias has shape \(2,\), expected \(4,\)"),
        (change(FC1, torch.ones(2, 3)), r"\(2, 3\), expected \(2, 2\).* with encoder_layers"),
        (
            change("mapping.end_boundary", torch.ones(32)),
            r"end_boundary has shape \(32,\), expected \(1, 1, 32\)",
        ),
        (
            change("encoder_mt.embed_tokens.weight", None),
            "another model than .*enc.*nothing at encoder_mt.embed_tokens.weight",
        ),
        (
            change("model_llm.model.lm_head.weight", torch.ones(5, 32)),
            r"another model than .*llm.*shape \(5, 32\) at model_llm.model.lm_head.weight",
        ),
    ],
)
def test_states_that_do_not_fit(
    damage: Any, message: str, model: LayAlignModel, roles: dict[str, str], tmp_path: Path
) -> None:
    state = authors_state(model)
    damage(state)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(write(tmp_path, state, "bin"), roles)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "converted").exists()


@pytest.mark.parametrize(
    ("role", "other", "message"),
    [
        ("encoder", make_encoder("mt5", d_model=36), r"has shape .*expected"),
        ("encoder", make_encoder("bert"), "another model than .*nothing at encoder_mt"),
        ("language_model", make_language_model("gpt_neox"), "'gpt_neox' has no place in"),
        ("language_model", make_language_model("phi3"), "expected one that is built like Llama"),
        ("language_model", make_language_model(hidden_size=64), "has shape .*expected"),
    ],
)
def test_other_backbones(
    role: str,
    other: Any,
    message: str,
    model: LayAlignModel,
    roles: dict[str, str],
    tmp_path: Path,
) -> None:
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match=message):
        convert(
            write(tmp_path, authors_state(model), "bin"), {**roles, role: str(tmp_path / "other")}
        )


class Command:
    """What a hostile file would hold."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("form", ["zip", "pickle", "nested"])
def test_code_is_refused(
    form: str, roles: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = {"mapping.end_boundary": torch.ones(1, 1, 32), "more": Command()}
    if form == "pickle":
        Path("evil.bin").write_bytes(pickle.dumps({"more": Command()}, protocol=2))
    else:
        torch.save(values if form == "zip" else {"state": [values]}, "evil.bin")
    with pytest.raises(CheckpointError, match="holds more than tensors, which could run code"):
        convert(tmp_path / "evil.bin", roles)
    assert not Path("executed").exists()


@pytest.mark.parametrize("form", FORMS)
def test_truncated_files(
    form: str, model: LayAlignModel, roles: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path, authors_state(model), form)
    files = [path] if path.suffix in (".bin", ".pt", ".safetensors") else path.parent.rglob("*-1.*")
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"is damaged or cut off .*; copy it again"):
        convert(path, roles)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.bin", b"", "is damaged or cut off"),
        ("text.bin", b"hello world", "is damaged or cut off|more than tensors"),
        ("text.safetensors", b"hello world", "is damaged or cut off"),
        ("text.txt", b"hello", r"no state file by its name; expected one that ends in \.safetens"),
        ("x.bin.index.json", b"[1]", "is no index of shards"),
        ("x.bin.index.json", b'{"weight_map": {"a": "../a.bin"}}', "expected a file beside it"),
        ("x.bin.index.json", b'{"weight_map": {"a": "a.bin"}}', "which is not there"),
    ],
)
def test_files_of_another_kind(
    name: str, content: bytes, message: str, roles: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / name, roles)


def test_other_mistakes_with_paths(
    model: LayAlignModel, roles: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"no state file .*nowhere"):
        convert(tmp_path / "nowhere.bin", roles)
    with pytest.raises(CheckpointError, match="should hold one state file, found none"):
        convert(tmp_path, roles)
    torch.save([torch.ones(1)], tmp_path / "list.bin")
    with pytest.raises(CheckpointError, match="something else than tensors by name"):
        convert(tmp_path / "list.bin", roles)
    index = write(tmp_path, authors_state(model), "sharded bin")
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**places, "more": "pytorch_model-0.bin"}}))
    with pytest.raises(CheckpointError, match=r"places 'more' in pytorch_model-0\.bin"):
        convert(index, roles)
    state = write(tmp_path, authors_state(model), "bin")
    convert(state, roles)
    with pytest.raises(CheckpointError, match="already holds a checkpoint"):
        convert(state, roles)
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"found model\.safetensors, pytorch_model\.bin"):
        from_published(tmp_path, tmp_path / "new", **roles)


def test_checkpoints_that_their_layout_cannot_hold(tmp_path: Path) -> None:
    make_model(adapter_width=7).save_pretrained(tmp_path / "narrow")
    with pytest.raises(CheckpointError, match=r"adapter_width 7, .* only 48"):
        to_published(tmp_path / "narrow", tmp_path / "x.bin")
    make_model("gpt_neox").save_pretrained(tmp_path / "neox")
    with pytest.raises(CheckpointError, match="'gpt_neox' has no place"):
        to_published(tmp_path / "neox", tmp_path / "x.bin")
    with pytest.raises(ConfigError, match="expected a name that ends in"):
        to_published(tmp_path / "neox", tmp_path / "x.json")
    (tmp_path / "x.bin").touch()
    with pytest.raises(ConfigError, match="is there already"):
        to_published(tmp_path / "neox", tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        to_published(tmp_path / "nothing", tmp_path / "y.bin")
