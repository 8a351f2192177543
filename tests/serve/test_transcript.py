"""Pieces of text are never taken back, and together they are the whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from layalign.eval.decoding import until_stop
from layalign.serve.transcript import Transcript


class Bytes:
    """A tokenizer whose tokens are bytes, as those of byte-level tokenizers may be."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return bytes(ids).decode(errors="replace")


class Words:
    """A tokenizer of words, which leaves out spaces that do not belong there."""

    clean_up_tokenization_spaces = True

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        text = " ".join(self.words[i] for i in ids)
        for mark in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
            text = text.replace(mark, mark.strip())
        return text


def pieces(text: str, stop: Sequence[str] = ()) -> list[str]:
    transcript = Transcript(Bytes(), stop)  # type: ignore[arg-type]
    found = []
    for byte in text.encode():
        found.append(transcript.add(byte))
        if transcript.stopped:
            break
    return [*found, transcript.finish()]


def stopped(text: str, stop: Sequence[str]) -> str:
    """What is left when writing ends as soon as a stop string is complete."""
    for size in range(len(text) + 1):
        cut = until_stop(text[:size], stop)
        if len(cut) < size:
            return cut
    return text


@given(
    st.text("aab\u0e01\U0001f600", max_size=12),
    st.lists(st.text("ab\u0e01", min_size=1), max_size=3),
)
def test_the_pieces_are_the_text_before_the_stop(text: str, stop: list[str]) -> None:
    assert "".join(pieces(text, stop)) == stopped(text, stop)


def test_characters_come_whole_and_as_soon_as_they_are_certain() -> None:
    assert pieces("aก") == ["a", "", "", "ก", ""]
    assert pieces("xabay", ["aby"]) == ["x", "", "", "ab", "ay", ""]
    assert pieces("xaby", ["aby"])[0] == "x"
    assert "".join(pieces("xab", ["aby"])) == "xab"


def test_half_a_character_at_the_end_is_shown() -> None:
    transcript = Transcript(Bytes())  # type: ignore[arg-type]
    assert transcript.add(0xE0) == ""
    assert transcript.finish() == "\ufffd"


@given(st.lists(st.sampled_from(["do", "n't", "n", "'", "'s", "'m", "s", ".", ",", "!"])))
def test_spaces_that_are_left_out_later_are_not_told(words: list[str]) -> None:
    tokenizer = Words(words)
    transcript = Transcript(tokenizer)  # type: ignore[arg-type]
    found = [transcript.add(i) for i in range(len(words))]
    whole = tokenizer.decode(range(len(words)), skip_special_tokens=True)
    assert "".join([*found, transcript.finish()]) == whole


LINES = [
    "আনার এখন কয়টি আপেল আছে?",
    "ตอนนี้แอนนามีแอปเปิลกี่ผล",
    "አና አሁን ስንት ፖም አላት?",
    "كم تفاحة؟",
    "\U0001f469\u200d\U0001f467 e\u0301",
]


@pytest.mark.parametrize("kind", ["byte-level", "byte fallback"])
@pytest.mark.parametrize("text", LINES)
def test_scripts_whose_characters_take_several_tokens(kind: str, text: str) -> None:
    """With tokenizers that know no character of them, of both kinds that there are."""
    tokenizer = byte_tokenizer(kind)
    transcript = Transcript(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) >= len(text.encode())
    found = [transcript.add(token) for token in ids]
    assert all("\ufffd" not in piece for piece in found)
    assert "".join([*found, transcript.finish()]) == text


def byte_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    if kind == "byte-level":
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        letters = ["<unk>", "\u2581", *(f"<0x{byte:02X}>" for byte in range(256))]
        vocabulary = {letter: i for i, letter in enumerate(letters)}
        tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)
