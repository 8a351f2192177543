"""Plain language models and checkpoints of LayAlign, told apart and loaded."""

import hashlib
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
import torch

import factories
import layalign.embedded
from layalign.cli import parser
from layalign.data import Example
from layalign.errors import BackboneError, CheckpointError, ConfigError
from layalign.eval import loading
from layalign.eval.loading import load_systems
from layalign.eval.provenance import describe_checkpoint, is_language_model
from layalign.eval.run_folder import FINETUNE_NAME
from layalign.eval.systems import BareLLM


def test_the_configuration_tells_them_apart(
    tiny_checkpoint: Path, tiny_language_model: Path, tmp_path: Path
) -> None:
    assert not is_language_model(tiny_checkpoint)
    assert is_language_model(tiny_language_model)
    assert is_language_model(tiny_checkpoint / "language_model")
    (tmp_path / "adapter_config.json").write_text("{}")
    assert is_language_model(tmp_path)


@pytest.mark.parametrize("config", [None, "", "[]", '{"hidden_size": 3}', "\x00"])
def test_neither(config: str | None, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=r"no config\.json that names a model_type"):
        load_systems(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "no/where"])
def test_nothing_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"nowhere|no/where"):
        load_systems(name)


def test_a_plain_model_is_the_bare_one(
    tiny_checkpoint: Path, tiny_language_model: Path, examples: list[Example]
) -> None:
    template = "{question} answer ="
    inside, alone = (
        load_systems(place, bare_prompt_template=template, max_new_tokens=4)
        for place in (tiny_checkpoint, tiny_language_model)
    )
    assert [*inside] == ["LayAlign", "bare LLM"]
    assert [*alone] == ["bare LLM"]
    assert alone["bare LLM"].answer(examples) == inside["bare LLM"].answer(examples)
    assert [*load_systems(tiny_language_model, bare=False)] == ["bare LLM"]


def test_the_prompt_is_that_of_the_fine_tune(tiny_language_model: Path, tmp_path: Path) -> None:
    def prompt(template: str | None = None) -> str:
        system = load_systems(folder, bare_prompt_template=template)["bare LLM"]
        assert isinstance(system, BareLLM)
        return system.prompt_template

    folder = tmp_path / "model"
    shutil.copytree(tiny_language_model, folder)
    assert prompt() == "{question}\n"
    (folder / FINETUNE_NAME).write_text(json.dumps({"prompt_template": "{question} ="}))
    assert prompt() == "{question} ="
    assert prompt("has {question} ?") == "has {question} ?"
    with pytest.raises(ConfigError, match=r"prompt template is 'A:'; expected one with"):
        prompt("A:")


def test_models_that_cannot_be_used(tiny_language_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_language_model, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="cannot load a tokenizer"):
        load_systems(tmp_path / "model")
    shutil.copy(tiny_language_model / "tokenizer.json", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="cannot load the language model"):
        load_systems(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"no weights as \.safetensors"):
        describe_checkpoint(tmp_path / "model")


def test_the_hash_is_of_all_weights(tiny_language_model: Path, tmp_path: Path) -> None:
    only = (tiny_language_model / "model.safetensors").read_bytes()
    described = describe_checkpoint(tiny_language_model)
    assert described["weights_sha256"] == hashlib.sha256(only).hexdigest()
    assert described["processor_sha256"] is described["recipe"] is None
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    hashes = set()
    for content in (b"a", b"b"):
        (tmp_path / "model-1.safetensors").write_bytes(b"first")
        (tmp_path / "model-2.safetensors").write_bytes(content)
        hashes.add(describe_checkpoint(tmp_path)["weights_sha256"])
    assert len(hashes) == 2


def test_the_recipe_of_a_run_is_found_beside_its_language_model(
    tiny_language_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text("seed: 3\n")
    for name, recipe in (("language_model", {"seed": 3}), ("other", None)):
        shutil.copytree(tiny_language_model, tmp_path / name)
        assert describe_checkpoint(tmp_path / name)["recipe"] == recipe


def test_embedded_names_and_hub_ids(
    tiny_language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        fetched.append(name)
        assert not any(fnmatch("pytorch_model.bin", pattern) for pattern in allow_patterns)
        names = [file.name for file in tiny_language_model.iterdir()]
        assert all(any(fnmatch(n, pattern) for pattern in allow_patterns) for n in names)
        return str(tiny_language_model)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert [*load_systems("someone/model")] == ["bare LLM"]
    assert fetched == ["someone/model"]
    monkeypatch.setattr(
        layalign.embedded, "resolve", {"small": str(tiny_language_model)}.__getitem__
    )
    assert [*load_systems("small")] == ["bare LLM"]


@pytest.mark.parametrize("dtype", [None, *loading.DTYPES])
def test_the_type_can_be_chosen(
    dtype: str | None, tiny_checkpoint: Path, tiny_language_model: Path
) -> None:
    for place in (tiny_checkpoint, tiny_language_model):
        for system in load_systems(place, dtype=dtype).values():
            language_model = getattr(system.model, "language_model", system.model)
            assert language_model.dtype == getattr(torch, dtype or "float32")
    assert loading.DTYPES == parser.DTYPES


def test_a_type_that_is_none(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="dtype is 'float64'; expected one of bfloat16, float32"):
        load_systems(tiny_checkpoint, dtype="float64")


def test_on_a_gpu_a_checkpoint_has_the_type_of_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    language_model = factories.make_language_model()
    language_model.config.dtype = torch.bfloat16  # as that of a model that was loaded so
    factories.make_model(language_model).save_pretrained(tmp_path)
    assert loading._dtype(tmp_path) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loading._dtype(tmp_path) == torch.bfloat16
