"""What a model shows of itself, and its way through a Hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoProcessor, TextIteratorStreamer

from factories import (
    make_batch,
    make_language_model,
    make_model,
    make_processor,
    make_tokenizer,
    save_backbones,
    save_lora,
)
from layalign.errors import CheckpointError
from layalign.model import LayAlignModel, hub
from layalign.model.card import find_backbone
from layalign.model.lora import merge_lora
from layalign.processing import LayAlignProcessor


def logits(model: LayAlignModel) -> torch.Tensor:
    with torch.no_grad():
        return model(**make_batch()).logits


def test_repr_is_short_and_says_what_matters() -> None:
    model = make_model(lora={"rank": 2})
    lines = repr(model).splitlines()
    assert len(lines) == 6
    assert "bert, 3 layers of 24" in lines[1]
    assert "llama, 2 layers of 32" in lines[2]
    total = sum(model.get_parameter(name).numel() for name in model.trainable_names())
    assert f"{total:,} parameters (adapter " in lines[3]
    assert "gates 2, lora " in lines[3]
    assert lines[4] == "  gates: 0.5 … 1"
    assert "gates" not in repr(make_model(aligner="none"))


def test_repr_of_a_processor() -> None:
    shown = repr(make_processor(prompt_template="{question} =", split_digits=True))
    assert "'{question} ='" in shown
    assert "split_digits: True" in shown
    assert "max_length" not in shown  # the default
    assert len(repr(make_processor(language_codes={f"x{i}": "y" for i in range(99)}))) < 500


@pytest.mark.parametrize("skip_prompt", [True, False])
def test_a_streamer_of_transformers(skip_prompt: bool) -> None:
    model, tokenizer = make_model(), make_tokenizer()
    batch = {name: row[:1] for name, row in make_batch(targets=False).items()}
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=skip_prompt, timeout=10)
    ids = model.generate(**batch, max_new_tokens=5, do_sample=False, streamer=streamer)
    assert "".join(streamer).split() == tokenizer.decode(ids[0]).split()


Put = Callable[[str, Path, str], None]


def test_backbones_come_by_the_revision_of_training(put_on_hub: Put, tmp_path: Path) -> None:
    places = save_backbones(tmp_path)
    first, second = "1" * 40, "2" * 40
    put_on_hub("some/encoder", Path(places["encoder"]), first)
    put_on_hub("some/llm", Path(places["language_model"]), first)
    model = LayAlignModel.from_backbones("some/encoder", "some/llm")
    assert model.config.encoder_revision == model.config.language_model_revision == first
    model.save_pretrained(tmp_path / "checkpoint")
    LayAlignProcessor.from_backbones("some/encoder", "some/llm").save_pretrained(
        tmp_path / "checkpoint"
    )
    put_on_hub("me/layalign", tmp_path / "checkpoint", first)
    # Later the language model's main branch moves on.
    shutil.rmtree(places["language_model"])
    make_language_model(seed=5).save_pretrained(places["language_model"])
    put_on_hub("some/llm", Path(places["language_model"]), second)
    again = LayAlignModel.from_pretrained("me/layalign")
    assert torch.equal(logits(again), logits(model))
    processor = AutoProcessor.from_pretrained("me/layalign")
    assert isinstance(processor, LayAlignProcessor)
    assert processor("ana mayai")["input_ids"].shape[0] == 1


def test_so_do_tokenizers(put_on_hub: Put, tmp_path: Path) -> None:
    places, first = save_backbones(tmp_path), "1" * 40
    names = {"encoder": "some/encoder", "language_model": "some/llm"}
    for role, name in names.items():
        put_on_hub(name, Path(places[role]), first)
    LayAlignModel.from_backbones(*names.values()).save_pretrained(tmp_path / "checkpoint")
    LayAlignProcessor.from_backbones(*names.values()).save_pretrained(tmp_path / "checkpoint")
    for folder in ("tokenizer", "encoder_tokenizer"):
        shutil.rmtree(tmp_path / "checkpoint" / folder)
    for role, name in names.items():  # later other tokenizers are put in their places
        make_tokenizer(specials=role == "language_model").save_pretrained(places[role])
        put_on_hub(name, Path(places[role]), "2" * 40)

    def special(processor: LayAlignProcessor) -> list[bool]:
        both = processor.encoder_tokenizer, processor.tokenizer
        return [tokenizer("ana")["input_ids"][-1] == 2 for tokenizer in both]

    revisions = dict.fromkeys(("encoder_revision", "language_model_revision"), first)
    assert special(LayAlignProcessor.from_backbones(*names.values())) == [False, True]
    assert special(LayAlignProcessor.from_backbones(*names.values(), **revisions)) == [True, False]
    assert special(LayAlignProcessor.from_pretrained(tmp_path / "checkpoint")) == [True, False]


def test_what_is_not_there_is_one_line(put_on_hub: Put) -> None:
    with pytest.raises(CheckpointError, match=r"'no/body' is no local folder and could not be"):
        LayAlignModel.from_pretrained("no/body")


class Api:
    """Takes the place of huggingface_hub's, and keeps what is uploaded."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.created: dict[str, Any] = {}
        self.files: dict[str, str] = {}

    def create_repo(self, repo_id: str, **kwargs: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.created = {"repo_id": repo_id, **kwargs}
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, folder_path: str, **kwargs: Any) -> str:
        folder = Path(folder_path)
        self.files = {
            file.relative_to(folder).as_posix(): file.read_text("utf-8", "replace")
            for file in folder.rglob("*.*")
        }
        return "https://hub/commit"


def test_uploading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    api = Api()
    monkeypatch.setattr(hub, "HfApi", lambda token: api)
    assert make_model().push_to_hub("me/sums", private=True) == "https://hub/commit"
    assert api.created == {"repo_id": "me/sums", "private": True, "exist_ok": True}
    assert {"config.json", "model.safetensors", "README.md"} <= set(api.files)
    assert 'from_pretrained("me/sums")' in api.files["README.md"]
    api.files.clear()
    options = {"include_backbones": True, "push_to_hub": True, "repo_id": "me/sums"}
    make_model().save_pretrained(tmp_path / "sums", **options)
    assert 'from_pretrained("me/sums")' in api.files["README.md"]
    assert "encoder/config.json" in api.files


def test_an_upload_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    response = SimpleNamespace(headers={}, request=None)
    refused = HfHubHTTPError("401 Unauthorized\nand more", response=response)
    no_network = type("ConnectError", (Exception,), {})("Connection refused")  # of its own library
    for error, words in ((refused, "401 Unauthorized; log"), (no_network, "Connection refused; ")):
        api = Api(error)
        monkeypatch.setattr(hub, "HfApi", lambda token, api=api: api)
        with pytest.raises(CheckpointError, match=f"cannot upload to 'me/sums': {words}"):
            make_model().push_to_hub("me/sums")


def test_a_card_of_ones_own_is_kept(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    assert "# " in (tmp_path / "README.md").read_text("utf-8")
    (tmp_path / "README.md").write_text("mine", "utf-8")
    make_model().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text("utf-8") == "mine"


def test_what_is_known_of_a_backbone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = find_backbone("smollm2-135m-instruct")
    assert (known.hub_id, known.licence) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Text\n", "utf-8")
    assert find_backbone(str(tmp_path)) == (tmp_path.name, None, None, "mit")
    (tmp_path / "README.md").write_text("# Text without a head\n", "utf-8")
    assert find_backbone(str(tmp_path)).licence is None
    assert not caplog.records
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n", "utf-8")
    assert find_backbone(str(tmp_path)).licence is None
    assert find_backbone("some/model", "abc") == ("some/model", "some/model", "abc", None)
    assert find_backbone("/no/such/place") == ("place", None, None, None)


def test_a_self_contained_folder_holds_a_stored_lora_merged(tmp_path: Path) -> None:
    places = save_backbones(tmp_path / "backbones")
    save_lora(places["language_model"], tmp_path / "lora")
    model = LayAlignModel.from_backbones(places["encoder"], str(tmp_path / "lora"))
    model.save_pretrained(tmp_path / "whole", include_backbones=True)
    expected = logits(model)
    for name in ("lora", "backbones"):
        shutil.rmtree(tmp_path / name)
    assert torch.equal(logits(LayAlignModel.from_pretrained(tmp_path / "whole")), expected)


@pytest.mark.parametrize("lora", [{"rank": 2}, {"rank": 2, "dora": True}])
def test_a_merged_lora_computes_the_same(lora: dict[str, Any]) -> None:
    model = make_model(lora=lora)
    before = logits(model)
    merge_lora(model.language_model)
    assert not [name for name in model.trainable_names() if "lora_" in name]
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4)
