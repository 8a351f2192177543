"""Pieces of text are never taken back, and together they are the whole."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from layalign.eval.decoding import until_stop
from layalign.serve.transcript import Transcript


class Bytes:
    """A tokenizer whose tokens are bytes, as those of byte-level tokenizers may be."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return bytes(ids).decode(errors="replace")


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
