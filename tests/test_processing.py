"""Text into both models' inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from factories import make_batch, make_model, make_processor, make_tokenizer
from layalign.errors import CheckpointError, ConfigError, DataError
from layalign.processing import LayAlignProcessor

EOS = 2


def words(processor: LayAlignProcessor, ids: list[int]) -> str:
    return " ".join(processor.tokenizer.convert_ids_to_tokens(ids))


def test_stage_two_example() -> None:
    processor = make_processor(prompt_template="{question} answer :")
    feature = processor.encode("ana mayai 3", question="how many eggs", target="3 + 2")
    assert words(processor, feature["encoder_input_ids"]) == "<s> ana mayai 3 </s>"
    assert words(processor, feature["input_ids"]) == "how many eggs answer : 3 + 2 </s>"
    assert feature["labels"] == [-100] * 5 + feature["input_ids"][5:]
    assert feature["labels"].count(EOS) == 1


def test_stage_one_example_has_no_prompt() -> None:
    processor = make_processor()
    feature = processor.encode("ana mayai", target="she has eggs", prompt_template="")
    assert feature["input_ids"] == feature["labels"]
    assert processor.encode("ana mayai", prompt_template="")["input_ids"] == []


def test_a_template_without_question_is_only_a_cue() -> None:
    processor = make_processor(prompt_template="the answer is")
    assert words(processor, processor.encode("ana mayai")["input_ids"]) == "the answer is"


def test_padding_sides() -> None:
    processor = make_processor(prompt_template="{question}")
    texts, targets = ["ana", "ana mayai tatu"], ["she has", "3"]
    for side in ("left", "right"):
        batch = processor(texts, target=targets, padding_side=side)
        assert batch["encoder_attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
        assert batch["attention_mask"][0].tolist() == (
            [0, 1, 1, 1, 1] if side == "left" else [1, 1, 1, 1, 0]
        )
        is_target = batch["labels"] != -100
        assert torch.equal(batch["labels"][is_target], batch["input_ids"][is_target])
        assert is_target.sum(1).tolist() == [3, 2]  # "she has" and "3", each with its EOS
        assert batch["attention_mask"][is_target].all()
        assert (batch["labels"] == EOS).sum() == 2


def test_results_do_not_depend_on_the_padding_side() -> None:
    model, processor = make_model(), make_processor()
    losses = [
        model(
            **processor(["ana", "ana mayai 3 sasa"], target=["3", "she has 4"], padding_side=side)
        ).loss
        for side in ("left", "right")
    ]
    torch.testing.assert_close(*losses)


def test_long_inputs_are_cut_where_it_hurts_least_and_counted() -> None:
    processor = make_processor(
        prompt_template="question : {question} the answer is",
        prompt_max_length=8,
        encoder_max_length=4,
        target_max_length=3,
    )
    feature = processor.encode("how many apples does anna have", target="she has three apples")
    assert words(processor, feature["input_ids"][:8]) == "<unk> : how many apples the answer is"
    assert words(processor, feature["input_ids"][8:]) == "she has three"
    assert words(processor, feature["encoder_input_ids"]) == "<s> how many </s>"
    assert processor.truncations == {"encoder": 1, "prompt": 1, "target": 1}
    tight = make_processor(prompt_template="question {question} the answer is", prompt_max_length=4)
    with pytest.raises(ConfigError, match="the template alone takes 4 tokens"):
        tight.encode("how many apples")


def test_split_digits_in_every_digit_system() -> None:
    processor = make_processor(split_digits=True)
    assert processor.encoder_text("ana 120 na ১২ と ٣٤") == "ana 1 2 0 na 1 2 と 3 4"
    assert make_processor().encoder_text("ana 120") == "ana 120"


def test_a_question_that_is_long_in_the_language_model_is_left_out_of_its_text() -> None:
    template = "question : {question} the answer is"
    processor = make_processor(prompt_template=template, question_max_ratio=1.0)
    readable = processor.encode("how many apples", question="how many apples does anna")
    assert words(processor, readable["input_ids"]).endswith("does anna the answer is")
    assert processor.truncations == {}
    left_out = processor.encode("how many apples", question="how many apples does anna have")
    assert words(processor, left_out["input_ids"]) == "<unk> : the answer is"
    assert left_out["encoder_input_ids"] == readable["encoder_input_ids"]
    assert processor.truncations == {"question": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": " "}, "text is empty"),
        ({"text": 3}, r"text is int \(3\); expected a string"),
        ({"text": "ana", "target": ""}, "target is empty"),
        ({"text": "ana", "question": "\n"}, "question is empty"),
    ],
)
def test_wrong_texts(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_processor().encode(**arguments)


def test_lists_of_other_lengths() -> None:
    with pytest.raises(DataError, match="target has 1 entries for 2 texts"):
        make_processor()(["ana", "bei"], target=["3"])
    with pytest.raises(DataError, match="no text given"):
        make_processor()([])


def test_language_codes() -> None:
    processor = make_processor(language_codes={"sw": "swh_Latn"})
    processor.encode("ana", language="sw")
    assert processor.encoder_tokenizer.src_lang == "swh_Latn"
    with pytest.raises(DataError, match=r"'yo' has no code .* expected one of sw"):
        processor.encode("ana", language="yo")
    for unknown in (None, "und"):
        with pytest.raises(DataError, match="has to be told the language"):
            processor.encode("ana", language=unknown)


def test_language_codes_by_name() -> None:
    processor = make_processor(language_codes="nllb")
    processor.encode("ana", language="sw")
    assert processor.encoder_tokenizer.src_lang == "swh_Latn"
    assert processor.settings()["language_codes"]["th"] == "tha_Thai"
    with pytest.raises(DataError, match=r"'chr' has no code .* ace, .* …; extend") as error:
        processor.encode("ana", language="chr")
    assert len(str(error.value)) < 400
    with pytest.raises(ConfigError, match="unknown table of language codes 'mbart'"):
        make_processor(language_codes="mbart")


def test_tokenizer_of_another_model() -> None:
    processor, model = make_processor(), make_model()
    processor.check_model(model.config)
    processor.tokenizer.add_tokens([f"new{i}" for i in range(50)])
    with pytest.raises(ConfigError, match=r"language model's tokenizer .* only 99 embeddings"):
        processor.check_model(model.config)


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="target_max_length is 0"):
        make_processor(target_max_length=0)
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no EOS token"):
        LayAlignProcessor(make_tokenizer(), tokenizer)


def test_tokenizers_without_bos_and_pad() -> None:
    tokenizer = make_tokenizer(bos=False)
    tokenizer.pad_token = None
    batch = LayAlignProcessor(make_tokenizer(), tokenizer)(["ana", "ana bei"])
    assert batch["input_ids"][0, 0] == EOS
    assert batch["attention_mask"][0, 0] == 0


def test_round_trip(tmp_path: Path) -> None:
    processor = make_processor(split_digits=True, prompt_template="{question}: ")
    processor.save_pretrained(tmp_path)
    again = LayAlignProcessor.from_pretrained(tmp_path)
    assert again.settings() == processor.settings()
    options = {"split_digits": False, "token": None, "trust_remote_code": False}
    changed = LayAlignProcessor.from_pretrained(tmp_path, **options)
    assert changed.settings() == {**processor.settings(), "split_digits": False}
    text = {"text": "ana mayai 12", "target": "12"}
    assert again.encode(**text) == processor.encode(**text)
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        LayAlignProcessor.from_pretrained(tmp_path / "nothing")
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"the processor in .* is damaged"):
        LayAlignProcessor.from_pretrained(tmp_path)


def test_the_model_reads_what_the_processor_writes() -> None:
    model, processor = make_model(), make_processor()
    ids = model.generate(**processor("ana mayai 3"), max_new_tokens=3, pad_token_id=0)
    assert isinstance(processor.batch_decode(ids)[0], str)
    assert make_batch().keys() == processor("ana", target="3").keys()
