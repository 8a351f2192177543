"""transformers' own `pipeline`, told our class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TextStreamer, pipeline

from factories import make_model, make_processor
from layalign import LayAlignPipeline, generate
from layalign.errors import ConfigError, DataError

TEXTS = ["ana mayai nne", "how many apples does anna have", "bei gani"]


@pytest.fixture(scope="module")
def pipe(tiny_checkpoint: Path) -> Any:
    return pipeline(
        "text-generation", model=str(tiny_checkpoint), pipeline_class=LayAlignPipeline, device="cpu"
    )


@pytest.fixture(scope="module")
def expected(tiny_checkpoint: Path) -> list[str]:
    return [row["answer"] for row in generate(tiny_checkpoint, TEXTS, max_new_tokens=7)]


def answers(found: Any) -> list[str]:
    return [answer["generated_text"] for (answer,) in found]


def test_answers_are_those_of_generate(pipe: Any, expected: list[str]) -> None:
    assert isinstance(pipe, LayAlignPipeline)
    (answer,) = pipe(TEXTS[0], max_new_tokens=7)
    assert answer == {"generated_text": expected[0]}
    for size in (1, 2, 3):
        assert answers(pipe(TEXTS, batch_size=size, max_new_tokens=7)) == expected
    assert answers(pipe((text for text in TEXTS), batch_size=2, max_new_tokens=7)) == expected


def test_several_answers_and_a_streamer(pipe: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sampled = pipe(TEXTS, batch_size=3, num_return_sequences=2, do_sample=True, max_new_tokens=4)
    assert [len(group) for group in sampled] == [2, 2, 2]
    streamer = TextStreamer(pipe.processor.tokenizer, skip_special_tokens=True)
    (answer,) = pipe(TEXTS[0], streamer=streamer, max_new_tokens=4, return_full_text=False)
    assert capsys.readouterr().out.split() == answer["generated_text"].split()


def test_loaded_models_and_languages() -> None:
    processor = make_processor(language_codes={"sw": "swh_Latn"})
    pipe = pipeline(
        "text-generation",
        model=make_model(),
        processor=processor,
        pipeline_class=LayAlignPipeline,
        max_new_tokens=2,
        device="cpu",
    )
    assert len(pipe(TEXTS[0], language="sw")) == 1
    assert processor.encoder_tokenizer.src_lang == "swh_Latn"
    with pytest.raises(DataError, match="'th' has no code"):
        pipe(TEXTS[0], language="th")


def test_wrong_use(pipe: Any) -> None:
    with pytest.raises(ConfigError, match="return_full_text"):
        pipe(TEXTS[0], return_full_text=True)
    with pytest.raises(DataError, match="text"):
        pipe([{"role": "user", "content": TEXTS[0]}])
