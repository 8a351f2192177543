"""What clients get: OpenAI's JSON for whole answers and for their pieces."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from layalign.serve.jobs import Job, Piece
from layalign.serve.sampling import Chosen

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Json = dict[str, Any]


class Reply:
    """The answers to one request, as JSON.

    Args:
        model: Name that the client knows the model by.
        tokenizer: Of the language model.
        logprobs: Whether log-probabilities were asked for.
    """

    prefix: ClassVar[str]
    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]

    def __init__(self, model: str, tokenizer: PreTrainedTokenizerBase, *, logprobs: bool) -> None:
        """Choose an id."""
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self._tokenizer = tokenizer
        self._has_logprobs = logprobs

    def whole(self, answers: Sequence[Sequence[Piece]], usage: Json) -> Json:
        """All answers at once, each from all its pieces."""
        choices = [self._choice(i, pieces, whole=True) for i, pieces in enumerate(answers)]
        return {**self._head, "object": self.whole_object, "choices": choices, "usage": usage}

    def opening(self, index: int) -> Json | None:
        """What comes before the first piece of an answer, if anything."""
        return None

    def chunk(self, index: int, piece: Piece) -> Json:
        """One piece of one answer."""
        return self._chunk([self._choice(index, [piece], whole=False)])

    def closing(self, usage: Json) -> Json:
        """The last chunk of a stream that was asked for the number of tokens."""
        return {**self._chunk([]), "usage": usage}

    def _chunk(self, choices: list[Json]) -> Json:
        return {**self._head, "object": self.chunk_object, "choices": choices}

    def _choice(self, index: int, pieces: Sequence[Piece], *, whole: bool) -> Json:
        chosen = [piece.chosen for piece in pieces if piece.chosen is not None]
        return {
            "index": index,
            **self._content("".join(piece.text for piece in pieces), whole=whole),
            "finish_reason": pieces[-1].reason,
            "logprobs": self._logprobs(index, chosen) if self._has_logprobs else None,
        }

    def _content(self, text: str, *, whole: bool) -> Json:
        raise NotImplementedError

    def _logprobs(self, index: int, chosen: Sequence[Chosen]) -> Json:
        raise NotImplementedError

    def _token(self, token: int) -> str:
        return str(self._tokenizer.decode([token]))


class ChatReply(Reply):
    """Of ``/v1/chat/completions``."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def opening(self, index: int) -> Json:
        """Say who speaks."""
        delta = {"role": "assistant", "content": ""}
        choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
        return self._chunk([choice])

    def _content(self, text: str, *, whole: bool) -> Json:
        if whole:
            return {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"delta": {"content": text}}

    def _logprobs(self, index: int, chosen: Sequence[Chosen]) -> Json:
        return {
            "content": [
                {
                    **self._entry(one.token, one.logprob),
                    "top_logprobs": [self._entry(*pair) for pair in one.likeliest],
                }
                for one in chosen
            ],
            "refusal": None,
        }

    def _entry(self, token: int, logprob: float | None) -> Json:
        text = self._token(token)
        known = "\ufffd" not in text  # else the token is only part of a character
        return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if known else None}


class CompletionReply(Reply):
    """Of ``/v1/completions``."""

    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(self, model: str, tokenizer: PreTrainedTokenizerBase, *, logprobs: bool) -> None:
        """Nothing is written yet."""
        super().__init__(model, tokenizer, logprobs=logprobs)
        self._ends: Counter[int] = Counter()  # of the tokens told so far, by answer

    def _content(self, text: str, *, whole: bool) -> Json:
        return {"text": text}

    def _logprobs(self, index: int, chosen: Sequence[Chosen]) -> Json:
        tokens = [self._token(one.token) for one in chosen]
        *offsets, self._ends[index] = accumulate(map(len, tokens), initial=self._ends[index])
        return {
            "tokens": tokens,
            "token_logprobs": [one.logprob for one in chosen],
            # Of two tokens that read the same, the likelier one is told.
            "top_logprobs": [
                {self._token(token): value for token, value in reversed(one.likeliest)}
                for one in chosen
            ],
            "text_offset": offsets,
        }


def usage_of(jobs: Sequence[Job], *, n: int) -> Json:
    """Number of tokens; a prompt that is answered ``n`` times counts once."""
    prompt = sum(job.prompt.length for job in jobs[::n])
    answers = sum(len(job.transcript.ids) for job in jobs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answers,
        "total_tokens": prompt + answers,
    }


def error_json(message: str, kind: str, *, code: str | None = None) -> Json:
    """An error, as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
