"""An analysis as a whole: its figures agree with each other and with the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import make_model, make_processor
from layalign.analysis import analyze, read_weights, sentence_source
from layalign.embedded import models_table
from layalign.errors import CheckpointError, ConfigError


def test_shapes(found: dict[str, Any], tiny_checkpoint: Path) -> None:
    json.dumps(found, allow_nan=False)
    assert found["checkpoint"] == str(tiny_checkpoint)
    assert found["sentences"] == {"sw": 4, "th": 4}
    assert {name: len(rows["sw"]) for name, rows in found["retrieval"].items()} == {
        "encoder": 4,
        "LayAlign": 3,
        "bare LLM": 3,
    }
    assert list(found["tokens"]["layers"]) == ["1", "2", "3"]
    shape = len(found["tokens"]["tokens"]), len(found["tokens"]["english_tokens"])
    assert np.shape(found["tokens"]["layers"]["3"]) == shape
    for projection in found["projection"].values():
        assert {tag: len(points) for tag, points in projection["points"].items()} == {
            "en": 4,
            "sw": 4,
            "th": 4,
        }


def test_a_checkpoint_compared_with_itself_is_itself(
    found: dict[str, Any], tiny_checkpoint: Path, tiny_language_model: Path
) -> None:
    similarity = found["similarity"]
    assert list(similarity) == [
        "LayAlign",
        "bare LLM",
        str(tiny_language_model),
        str(tiny_checkpoint),
    ]
    assert similarity[str(tiny_checkpoint)] == similarity["LayAlign"]


def test_mixing_is_that_of_the_checkpoint(found: dict[str, Any], tiny_checkpoint: Path) -> None:
    weights = read_weights(tiny_checkpoint)
    assert np.array(found["mixing"]["keys"]) == pytest.approx(weights.keys, abs=1e-6)
    assert found["mixing"]["gates"] == pytest.approx(weights.gates, abs=1e-6)
    assert found["fusion_norms"]["language_layers"] == weights.language_layers


def test_without_an_aligner(tmp_path: Path, aligned: Path) -> None:
    make_model(aligner="none").save_pretrained(tmp_path, include_backbones=True)
    make_processor(prompt_template="the answer is").save_pretrained(tmp_path)
    told: list[tuple[int, int, str]] = []
    source = sentence_source(path=str(aligned), languages=("sw",))
    found = analyze(tmp_path, source=source, progress=lambda *state: told.append(state))
    assert found["mixing"] is None
    assert found["fusion_norms"] is None
    assert told[-1] == (16, 16, "bare LLM")


def test_what_cannot_be_analysed(
    tiny_checkpoint: Path, tiny_language_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="is a plain language model"):
        analyze(tiny_language_model)
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        analyze(tmp_path / "absent")
    with pytest.raises(ConfigError, match="a name occurs twice"):
        analyze(tiny_checkpoint, compare=["a", "a"])


def test_models_are_looked_at_before_anything_is_read(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    def unexpected(*state: object) -> None:
        raise AssertionError(state)

    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        analyze(tiny_checkpoint, compare=[tmp_path / "absent"], progress=unexpected)
    make_model(adapter="none").save_pretrained(tmp_path / "bare", include_backbones=True)
    for place, others in ((tmp_path / "bare", []), (tiny_checkpoint, [tmp_path / "bare"])):
        with pytest.raises(ConfigError, match="has no adapter"):
            analyze(place, compare=others, progress=unexpected)


@pytest.mark.slow
def test_real_models() -> None:
    if absent := [row.name for row in models_table() if row.source is None]:
        pytest.skip(f"{', '.join(absent)} not in LAYALIGN_HOME: run `layalign models fetch`")
    found = analyze("smollm2-e5", source=sentence_source(limit=8, languages=("sw",)))
    assert found["retrieval"]["encoder"]["sw"][-1] > found["retrieval"]["bare LLM"]["sw"][-1]
    assert max(found["fusion_norms"]["ratios"]["sw"]) > 0
