"""What clients send: the parts of OpenAI's requests that make sense here, and a few of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from layalign.errors import ConfigError
from layalign.fields import dotted, from_mapping
from layalign.serve.prompts import Turn
from layalign.serve.sampling import Sampling

MOST_ANSWERS = 128
"""Answers that one request may ask for."""

MOST_STOPS, LONGEST_STOP = 16, 256
"""Stop strings of a request and their characters: all are looked for after every token."""

IGNORED = (
    *("metadata", "prediction", "prompt_cache_key", "prompt_cache_options"),
    *("prompt_cache_retention", "safety_identifier", "service_tier", "user"),
)
"""Settings of OpenAI's that never change an answer."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    **{"audio": (), "best_of": (1,), "echo": (False,), "frequency_penalty": (0,)},
    **{"function_call": ("auto", "none"), "functions": ([],), "logit_bias": ({},)},
    **{"modalities": (["text"],), "moderation": (), "parallel_tool_calls": (True, False)},
    **{"presence_penalty": (0,), "reasoning_effort": ("none",)},
    **{"response_format": ({"type": "text"},), "store": (False,), "suffix": ("",)},
    **{"tool_choice": ("auto", "none"), "tools": ([],), "verbosity": ("medium",)},
    "web_search_options": (),
}
"""Settings of OpenAI's that this server does not have, and what they may be besides null: what
changes nothing, which many clients send always."""

NEUTRAL_IN_MESSAGES: Mapping[str, tuple[Any, ...]] = {
    **{"annotations": ([],), "audio": (), "function_call": (), "parsed": (), "refusal": ()},
    "tool_calls": ([],),
}
"""The same in a message: clients send answers back as they came."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a message."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[Part, ...] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Only an answer may have been nothing."""
        if self.content is None and self.role != "assistant":
            raise ConfigError("content is missing; add it")

    def turn(self) -> Turn:
        """The message as the models' prompts know it."""
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "\n".join(part.text for part in parts)
        return Turn("system" if self.role == "developer" else self.role, text)


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """What a stream tells besides the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


@dataclass(frozen=True, kw_only=True)
class AnyRequest:
    """What both kinds of request have in common.

    Raises:
        ConfigError: A setting is one that this server does not have, or out of its range.
    """

    model: str | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | tuple[str, ...] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    repetition_penalty: float | None = None

    language: str | None = None
    """BCP-47 tag of the encoder's text."""

    encoder_text: str | None = None
    """What the encoder reads, in place of the user's text."""

    layalign: Literal["on", "off"] = "on"
    """``off`` asks the bare language model."""

    def __post_init__(self) -> None:
        """Check what is not checked elsewhere."""
        if self.n is not None and not 1 <= self.n <= MOST_ANSWERS:
            raise ConfigError(f"n is {self.n}; expected 1 to {MOST_ANSWERS}")
        if self.stream_options is not None and not self.stream:
            raise ConfigError("stream_options is given without stream; set stream too")
        if len(self.stops) > MOST_STOPS or any(len(one) > LONGEST_STOP for one in self.stops):
            raise ConfigError(
                f"stop has too many or too long strings; expected at most {MOST_STOPS}, of at most "
                f"{LONGEST_STOP} characters"
            )

    @property
    def stops(self) -> tuple[str, ...]:
        """What ends an answer."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop or ()

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def samplings(self) -> list[Sampling]:
        """How each of the ``n`` answers is decoded; their seeds count up."""
        return [
            Sampling(
                max_new_tokens=self._longest(),
                temperature=0.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else self.top_p,
                seed=None if self.seed is None else self.seed + i,
                stop=self.stops,
                logprobs=self._logprobs(),
                repetition_penalty=self.repetition_penalty,
            )
            for i in range(self.n or 1)
        ]

    def _longest(self) -> int | None:
        return self.max_tokens

    def _logprobs(self) -> int | None:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ChatRequest(AnyRequest):
    """Body of ``/v1/chat/completions``."""

    messages: tuple[Message, ...]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    def _longest(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    def _logprobs(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise ConfigError("top_logprobs is given without logprobs; set logprobs too")
        return None


@dataclass(frozen=True, kw_only=True)
class CompletionRequest(AnyRequest):
    """Body of ``/v1/completions``."""

    prompt: str | tuple[str, ...]
    logprobs: int | None = None

    def __post_init__(self) -> None:
        """Check the number of prompts too, before any is read."""
        super().__post_init__()
        count = len(self.prompts()) * (self.n or 1)
        if not 1 <= count <= MOST_ANSWERS:
            raise ConfigError(f"{count} answers are asked for; expected 1 to {MOST_ANSWERS}")

    def prompts(self) -> tuple[str, ...]:
        """The texts to be continued."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    def _logprobs(self) -> int | None:
        return self.logprobs


T = TypeVar("T", bound=AnyRequest)


def read_request(kind: type[T], values: Mapping[str, Any]) -> T:
    """Read a request strictly; null is the same as leaving a setting out.

    Args:
        kind: Of request.
        values: Its JSON.

    Raises:
        ConfigError: A setting is unknown, wrong, or would ask for what this server does not do.
    """
    told = {name: value for name, value in values.items() if name not in IGNORED}
    asked = _telling(told, kind, NEUTRAL, "")
    if isinstance(asked.get("messages"), list):
        asked["messages"] = [
            _telling(message, Message, NEUTRAL_IN_MESSAGES, f"messages[{i}]")
            for i, message in enumerate(asked["messages"])
        ]
    return from_mapping(kind, asked, "")


def _telling(values: Any, kind: type, neutral: Mapping[str, tuple[Any, ...]], where: str) -> Any:
    """Leave out the settings that change nothing.

    Raises:
        ConfigError: A setting that this server does not have would change something.
    """
    if not isinstance(values, dict):
        return values
    own = {field.name for field in fields(kind)}
    telling = {}
    for name, value in values.items():
        if value is None and (name in own or name in neutral):
            continue
        if name not in neutral:
            telling[name] = value
        elif value not in neutral[name]:
            raise ConfigError(f"{dotted(where, name)} is not supported; leave it out")
    return telling
