"""The reference cases' own state files, converted: the same numbers, and the same file back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cases import PARITY_DIR, Case, case_folders
from safetensors.torch import load_file
from torch import Tensor

from layalign.errors import CheckpointError
from layalign.model import LayAlignModel
from layalign.model.backbones import load_language_model
from layalign.model.published import from_published, to_published

FOLDERS = case_folders()
pytestmark = pytest.mark.skipif(not FOLDERS, reason=f"no reference cases in {PARITY_DIR}")
both_stages = pytest.mark.parametrize("stage", [1, 2])


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.fixture(scope="module")
def converted(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(case.folder.name) / "converted"
    from_published(
        case.folder / "official_state.safetensors",
        folder,
        encoder=str(case.folder / "encoder"),
        language_model=str(case.folder / "llm"),
        encoder_layers=case.info["layalign"]["encoder_layers"],
    )
    return folder


@both_stages
def test_logits_and_loss(case: Case, converted: Path, stage: int) -> None:
    model = LayAlignModel.from_pretrained(converted, dtype=torch.float32)
    with torch.no_grad():
        output = model(**case.batch(stage))
    mask = case.expected[f"stage{stage}.attention_mask"].bool()
    torch.testing.assert_close(
        output.logits[mask],
        case.expected[f"stage{stage}.logits"][mask],
        atol=case.tolerances["logits_abs"],
        rtol=0,
    )
    loss = float(case.expected[f"stage{stage}.loss"])
    assert float(output.loss) == pytest.approx(loss, abs=case.tolerances["loss"])


@both_stages
def test_greedy_ids(case: Case, converted: Path, stage: int) -> None:
    settings = case.info["layalign"]
    model = LayAlignModel.from_pretrained(converted, dtype=torch.float32)
    found = model.generate(
        **case.prompt(stage),
        max_new_tokens=settings["max_gen_len"],
        do_sample=False,
        pad_token_id=settings["llm_pad_token_id"],
    )
    expected = case.expected[f"stage{stage}.generate.ids"]
    assert torch.equal(found[:, : expected.shape[1]], expected)


def test_what_is_read_from_the_file(case: Case, converted: Path) -> None:
    config = LayAlignModel.from_pretrained(converted).config
    settings = case.info["layalign"]
    assert list(config.language_layers) == settings["language_layers"]
    assert config.aligner == settings["structure"].lower()
    assert config.bos_token_id == settings["llm_bos_token_id"]
    # The backbones in the file are those in the folders, so their fingerprints agree.
    assert config.fingerprints == case.model(published=True).config.fingerprints
    other = load_language_model(str(case.folder / "llm"))
    with torch.no_grad():
        other.get_parameter("model.norm.weight").mul_(2)
    with pytest.raises(CheckpointError, match="other language_model weights"):
        LayAlignModel.from_pretrained(converted, language_model=other)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_back_again(case: Case, converted: Path, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"state.{suffix}"
    to_published(converted, file)
    found: dict[str, Tensor] = (
        load_file(file) if suffix == "safetensors" else torch.load(file, weights_only=True)
    )
    official = load_file(case.folder / "official_state.safetensors")
    assert set(found) == set(case.names().values())
    assert all(torch.equal(value, official[name]) for name, value in found.items())
