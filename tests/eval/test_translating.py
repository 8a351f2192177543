"""Answering by way of a translation, without any model that can translate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    NllbTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from layalign.data import Example
from layalign.errors import BackboneError, DataError
from layalign.eval.loading import check_translator, load_translator
from layalign.eval.results import Answer
from layalign.eval.translating import TranslatingSystem, translated, translated_once

WORDS = {"mayai": "eggs", "tatu": "three"}
EXAMPLES = [
    Example(text="tatu mayai", language="sw", answer="3", id="1"),
    Example(text="three eggs", language="en", answer="3", id="1"),
    Example(text="xyz", language="sw", answer="4"),
]


class Dictionary:
    """Answers with a translation word by word, badly formatted, and remembers what it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def answer(self, examples: Any, *, batch_size: int = 32, on_batch: Any = None) -> list[Answer]:
        self.read += [example.text for example in examples]
        texts = [" ".join(WORDS.get(w, "") for w in e.text.split()) for e in examples]
        return [Answer(f"\n {text}\x00 ", 2) for text in texts]


class Echo:
    """Answers with what it reads."""

    def answer(self, examples: Any, *, batch_size: int = 32, on_batch: Any = None) -> list[Answer]:
        return [Answer(f"{example.text}|{example.answer}", 1) for example in examples]


@pytest.mark.parametrize(
    ("keep", "texts"),
    [
        (False, ["three eggs", "three eggs", "xyz"]),
        (True, ["tatu mayai\nthree eggs", "three eggs", "xyz"]),
    ],
)
def test_every_text_but_english_is_translated(keep: bool, texts: list[str]) -> None:
    dictionary = Dictionary()
    found = translated(EXAMPLES, dictionary, keep_original=keep)
    assert [example.text for example in found] == texts
    assert dictionary.read == ["tatu mayai", "xyz"]
    assert [(e.language, e.answer, e.id) for e in found] == [
        (e.language, e.answer, e.id) for e in EXAMPLES
    ]
    system = TranslatingSystem(dictionary, Echo(), keep_original=keep)
    answers = system.answer(EXAMPLES, batch_size=2)
    expected = [f"{text}|{e.answer}" for text, e in zip(texts, EXAMPLES, strict=True)]
    assert [answer.text for answer in answers] == expected


def test_translations_are_made_once(tmp_path: Path) -> None:
    dictionary, file = Dictionary(), tmp_path / "new" / "translations.json"
    first, seconds = translated_once(EXAMPLES, dictionary, file, batch_size=1)
    assert seconds > 0
    assert translated_once(EXAMPLES, dictionary, file, batch_size=1) == (first, seconds)
    assert first == translated(EXAMPLES, Dictionary(), keep_original=True)
    assert len(dictionary.read) == 2
    file.write_bytes(file.read_bytes().replace(b"eggs", b"eggz"))
    assert translated_once(EXAMPLES, dictionary, file, batch_size=1)[0] == first
    assert len(dictionary.read) == 4
    turned = EXAMPLES[::-1]
    assert translated_once(turned, dictionary, file, batch_size=1)[0] == first[::-1]


def test_answers_are_told_by_their_place_among_all() -> None:
    class Told(Echo):
        def answer(self, examples: Any, *, batch_size: int = 32, on_batch: Any = None) -> Any:
            answers = super().answer(examples)
            on_batch(dict(enumerate(answers)))
            return answers

    examples = [Example(text=f"tatu {'mayai ' * i}", language="sw") for i in range(1, 11)]
    told: dict[int, Answer] = {}
    answers = TranslatingSystem(Dictionary(), Told()).answer(
        examples, batch_size=1, on_batch=told.update
    )
    assert told == dict(enumerate(answers))
    assert [answer.text.count("eggs") for answer in answers] == list(range(1, 11))


def test_no_examples() -> None:
    assert TranslatingSystem(Dictionary(), Echo()).answer([]) == []


@pytest.fixture
def t5(tmp_path: Path) -> Path:
    """A tiny model whose tokenizer knows no languages."""
    names = ["<pad>", "</s>", "<unk>", "tatu", "mayai", "three", "eggs", "to", ":"]
    vocabulary = {word: i for i, word in enumerate(names)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(
        T5Config(vocab_size=len(names), decoder_start_token_id=0, **sizes)
    ).save_pretrained(tmp_path)
    return tmp_path


def test_any_sequence_to_sequence_model(t5: Path) -> None:
    """In batches as one by one, and as transformers' own generate."""
    translator = load_translator(str(t5), max_new_tokens=5, prompt_template="to : {question}")
    assert translator.codes == {}
    examples = [*EXAMPLES, Example(text="mayai", language="th")]
    answers = translator.answer(examples, batch_size=3)
    for example, answer in zip(examples, answers, strict=True):
        ids = translator.tokenizer(f"to : {example.text}", return_tensors="pt")["input_ids"]
        full = translator.model.generate(ids, max_new_tokens=5, do_sample=False)[0, 1:]
        assert answer.text == translator.tokenizer.decode(full, skip_special_tokens=True)
        assert 1 <= answer.new_tokens <= 5


def test_one_that_is_told_languages(tmp_path: Path) -> None:
    words = ["<s>", "<pad>", "</s>", "<unk>", "▁tatu"]
    codes = ["eng_Latn", "swh_Latn", "tha_Thai"]
    tokenizer = NllbTokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=[],
        additional_special_tokens=codes,
    )
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    widths = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    special = {"decoder_start_token_id": 2, "pad_token_id": 1, "eos_token_id": 2}
    M2M100ForConditionalGeneration(
        M2M100Config(vocab_size=len(tokenizer), **sizes, **heads, **widths, **special)
    ).save_pretrained(tmp_path)
    translator = load_translator(str(tmp_path), max_new_tokens=4)
    english, swahili = map(translator.tokenizer.convert_tokens_to_ids, ("eng_Latn", "swh_Latn"))
    assert translator.generation == {"forced_bos_token_id": english}
    feature = translator._encode(Example(text="tatu", language="sw"))
    assert feature["input_ids"][0] == swahili
    ids = translator._generate([feature], {"max_new_tokens": 4, **translator.generation})
    assert ids[0, 0] == english
    with pytest.raises(DataError, match="no code for language 'aa'"):
        translator.answer([Example(text="tatu", language="aa")])
    check_translator(str(tmp_path), ["sw", "th", "en"])
    with pytest.raises(DataError, match="no code for language 'aa'"):
        check_translator(str(tmp_path), ["sw", "aa"])


def test_what_is_no_translator(tmp_path: Path, tiny_language_model: Path) -> None:
    for place in (tmp_path / "none", tiny_language_model):
        for use in (load_translator, lambda name: check_translator(name, ["sw"])):
            with pytest.raises(BackboneError, match="cannot load the encoder-decoder that"):
                use(str(place))
