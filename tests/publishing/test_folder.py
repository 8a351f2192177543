"""A folder to give away: complete, without a trace of this machine, and described."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from factories import make_batch, make_model, save_backbones, save_lora
from layalign.cli.main import main
from layalign.errors import BackboneError, CheckpointError, ConfigError
from layalign.eval.comparison import compare
from layalign.eval.results import Prediction, collect
from layalign.generation import generate
from layalign.model import LayAlignConfig, LayAlignModel, hub
from layalign.model.checkpoint import read_weights
from layalign.processing import LayAlignProcessor
from layalign.publishing import export
from layalign.train.summary import RunSummary

LORA = {"rank": 2}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder: a checkpoint that names two folders, a recipe, a summary, and more."""
    places = save_backbones(tmp_path / "backbones")
    model = make_model(**loaded(places), lora=LORA)
    folder = tmp_path / "run"
    model.save_pretrained(folder)
    LayAlignProcessor.from_backbones(places["encoder"], places["language_model"]).save_pretrained(
        folder
    )
    recipe = {
        "model": {"encoder": places["encoder"], "language_model": places["language_model"]},
        "data": {
            "task": {
                "train": [
                    {"name": "word_problems", "split": "train", "languages": ["sw", "zh-Hant"]},
                    {"path": "/secret/place/own.jsonl", "language": "th", "limit": 5},
                    {"hub": "/secret/place/set", "language": "th"},
                    {"hub": "user/set", "language": "th"},
                ]
            },
            "evaluation": [{"name": "word_problems", "split": "test"}],
        },
        "stage": {"translation": None, "task": {"lr": 0.1}},
        "evaluation": {"metric": "number"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    ours, bare = (
        collect("number", [prediction(tag, i, i < n) for tag in ("sw", "tr") for i in range(10)])
        for n in (7, 2)
    )
    summary = RunSummary(
        output_dir=str(folder), stages={}, evaluation=compare(ours, bare, trained=["sw", "th"])
    )
    (folder / "summary.json").write_text(json.dumps(summary.to_dict()), "utf-8")
    (folder / "predictions").mkdir()
    return folder


@pytest.fixture
def on_hub(run: Path, put_on_hub: Callable[[str, Path, str], None]) -> Path:
    """The same, of backbones that others have too."""
    values = json.loads((run / "config.json").read_text("utf-8"))
    for role in ("encoder", "language_model"):
        put_on_hub(f"some/{role}", Path(values[role]), "1" * 40)
        values[role] = f"some/{role}"
    (run / "config.json").write_text(json.dumps(values), "utf-8")
    return run


def loaded(places: dict[str, str]) -> dict[str, Any]:
    model = LayAlignModel.from_backbones(**places)
    return {"encoder": model.encoder, "language_model": model.language_model}


def prediction(language: str, i: int, correct: bool) -> Prediction:
    return Prediction(
        id=str(i), language=language, text="?", answer="1", output="1", parsed="1", correct=correct
    )


def logits(folder: Path, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        return LayAlignModel.from_pretrained(folder, **options)(**make_batch()).logits


def test_a_self_contained_folder_answers_elsewhere(run: Path, tmp_path: Path) -> None:
    expected, said = logits(run), generate(run, ["ana mayai"], max_new_tokens=4, base=True)
    export(run, tmp_path / "out", backbones=True)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(tmp_path / "out", tmp_path / "elsewhere" / "copy")
    shutil.rmtree(tmp_path / "backbones")
    shutil.rmtree(run)
    assert torch.equal(logits(moved), expected)
    assert len({file.stat().st_mode for file in moved.rglob("*") if file.is_file()}) == 1
    assert generate(moved, ["ana mayai"], max_new_tokens=4, base=True) == said
    for file in moved.rglob("*"):
        if file.suffix in (".json", ".md", ".yaml"):
            text = file.read_text("utf-8")
            assert str(tmp_path) not in text, file
            assert "/secret" not in text, file


def test_a_merged_lora_is_in_the_weights(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", backbones=True, merge=True)
    torch.testing.assert_close(logits(tmp_path / "out"), logits(run), rtol=1e-4, atol=1e-4)
    assert not [
        name for name in load_file(tmp_path / "out" / "model.safetensors") if "lora" in name
    ]
    with pytest.raises(ConfigError, match="no LoRA in this checkpoint"):
        export(tmp_path / "out", tmp_path / "again", backbones=True, merge=True)
    with pytest.raises(ConfigError, match="must then be inside"):
        export(run, tmp_path / "again", merge=True)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_type(dtype: torch.dtype, merge: bool, run: Path, tmp_path: Path) -> None:
    out, expected = tmp_path / "out", logits(run)
    export(run, out, backbones=True, merge=merge, dtype=dtype)
    for file in out.rglob("*.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {dtype}
    assert LayAlignConfig.from_pretrained(out).text_config.dtype == dtype
    for loaded_in in (None, dtype, torch.bfloat16, torch.float32):  # its backbones are recognised
        assert logits(out, dtype=loaded_in).isfinite().all()
    error = (logits(out, dtype=torch.float32) - expected).norm() / expected.norm()
    assert error < 8 * torch.finfo(dtype).eps


def test_a_bit_that_has_turned_is_found_in_another_type(on_hub: Path, tmp_path: Path) -> None:
    for name, backbones in (("referring", False), ("whole", True)):
        export(on_hub, tmp_path / name, backbones=backbones, dtype=torch.bfloat16)
        assert read_weights(tmp_path / name).keys() == read_weights(on_hub).keys()
        file = tmp_path / name / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match="others than were saved"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("was_there", [False, True])
def test_what_fails_leaves_nothing(was_there: bool, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if was_there:
        out.mkdir()
    model = LayAlignModel.from_pretrained(run)
    with torch.no_grad():
        model.gates.fill_(1e6)
    model.save_pretrained(run)
    with pytest.raises(ConfigError, match=r"^gates has numbers too large for float16; choose"):
        export(run, out, backbones=True, dtype=torch.float16)
    assert out.exists() == was_there
    shutil.rmtree(tmp_path / "backbones" / "encoder")
    with pytest.raises(BackboneError):
        export(run, out, backbones=True)
    assert out.exists() == was_there
    assert not was_there or not list(out.iterdir())


def test_a_stored_lora_is_not_cast_so_that_it_is_refused(on_hub: Path, tmp_path: Path) -> None:
    save_lora("some/language_model", on_hub / "language_model")
    with pytest.raises(ConfigError, match=r"would not be recognised in float16; .*--backbones"):
        export(on_hub, tmp_path / "out", dtype=torch.float16)
    export(on_hub, tmp_path / "out", dtype=torch.bfloat16)
    lora = load_file(tmp_path / "out" / "language_model" / "adapter_model.safetensors")
    assert {weight.dtype for weight in lora.values()} == {torch.bfloat16}


def test_backbones_that_nobody_else_has_must_come_along(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder is a folder of this machine.*--backbones"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_copied_names_backbones_and_leaves_the_rest(on_hub: Path, tmp_path: Path) -> None:
    export(on_hub, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.json",
        "encoder_tokenizer",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "recipe.yaml",
        "tokenizer",
    ]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        on_hub / "model.safetensors"
    ).read_bytes()


def test_the_card_says_what_was_measured(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", backbones=True, name="me/sums", licence="cc0-1.0")
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["language"] == ["sw", "th", "zh"]
    assert head["license"] == "cc0-1.0"
    assert "| Swahili | 10 | 20.0 [5.7, 51.0] | 70.0 [39.7, 89.2] | +50.0 |" in text
    assert "| task | `word_problems`, train, sw zh-Hant |" in text
    assert "| task | `own.jsonl`, th, at most 5 a language |" in text
    assert "| task | `set`, th |" in text
    assert "| task | `user/set`, th |" in text
    assert 'from_pretrained("me/sums")' in text


def test_the_cards_snippet_runs(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export(run, tmp_path / "out", backbones=True)
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out


def test_a_card_without_a_run_is_kept(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "in")
    (tmp_path / "in" / "README.md").write_text("by hand", "utf-8")
    export(tmp_path / "in", tmp_path / "out", backbones=True)
    assert (tmp_path / "out" / "README.md").read_text("utf-8") == "by hand"
    export(tmp_path / "in", tmp_path / "licensed", backbones=True, licence="mit")
    text = (tmp_path / "licensed" / "README.md").read_text("utf-8")
    assert text == "---\nlicense: mit\n---\nby hand"
    head = "language: sw\nlicense: other\nlicense_name: my-own\ntags: [a]"
    (tmp_path / "in" / "README.md").write_text(f"---\n{head}\n---\nby hand", "utf-8")
    export(tmp_path / "in", tmp_path / "another", backbones=True, licence="mit")
    _, head, text = (tmp_path / "another" / "README.md").read_text("utf-8").split("---\n")
    assert yaml.safe_load(head) == {"language": "sw", "license": "mit", "tags": ["a"]}
    assert text == "by hand"
    (tmp_path / "in" / "README.md").write_text("---\n: [\n---\nby hand", "utf-8")
    with pytest.raises(ConfigError, match=r"own README\.md: its head is not readable"):
        export(tmp_path / "in", tmp_path / "damaged", backbones=True, licence="mit")
    assert not (tmp_path / "damaged").exists()


def test_the_card_of_a_saved_model_is_written_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = {"backbones": True, "name": "me/sums", "licence": "mit"}
    export(tiny_checkpoint, tmp_path / "out", **options)
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert yaml.safe_load(text.split("---")[1])["license"] == "mit"
    assert "| trained parameters | this repository | | mit |" in text
    assert 'from_pretrained("me/sums")' in text
    assert "checkpoint" not in text.split("```")[1]


def test_nothing_is_written_over(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(tiny_checkpoint, tmp_path / "out", backbones=True)
    with pytest.raises(ConfigError, match="not empty"):
        export(tiny_checkpoint, tmp_path / "out", backbones=True)


def test_the_command_uploads_the_folder(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(hub, "upload", lambda *args, **kwargs: seen.append((args, kwargs)) or "URL")
    out = tmp_path / "out"
    argv = ["export", str(tiny_checkpoint), str(out), "--backbones", "--dtype", "bfloat16"]
    assert main([*argv, "--push-to-hub", "me/sums", "--private"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out), "URL"]
    assert seen == [((out, "me/sums"), {"private": True})]
    with pytest.raises(SystemExit, match="2"):
        main([*argv, "--private"])


def test_an_upload_that_fails_says_how_to_go_on(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise CheckpointError("cannot upload to 'me/sums': no network")

    monkeypatch.setattr(hub, "upload", fail)
    argv = ["export", str(tiny_checkpoint), str(tmp_path / "my out"), "--backbones"]
    assert main([*argv, "--push-to-hub", "me/sums", "--private"]) == 1
    [*_, said] = capsys.readouterr().err.splitlines()
    assert said.endswith(f"hf upload me/sums '{tmp_path}/my out' --private")
    assert LayAlignModel.from_pretrained(tmp_path / "my out")
