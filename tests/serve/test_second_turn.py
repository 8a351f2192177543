"""What OpenAI's client, and tools like it, send besides the question: it must not be refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from layalign.serve.engine import Limits
from serving import MESSAGES, NAME, LiveServer, ask_client, live_server, make_tiny_systems, send

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live_server(make_tiny_systems(), Limits(max_new_tokens=12)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def as_object(client: Any) -> Any:
    return ask_client(client).choices[0].message


def as_plain_values(client: Any) -> Any:
    return as_object(client).model_dump()


def as_a_stream(client: Any) -> Any:
    end = as_object(client).content.split()[1]  # the helper takes no answers that are cut
    with client.chat.completions.stream(model=NAME, messages=MESSAGES, stop=end) as stream:
        return stream.get_final_completion().choices[0].message


def as_plain_values_of_a_stream(client: Any) -> Any:
    return as_a_stream(client).model_dump()


@pytest.mark.parametrize(
    "answer", [as_object, as_plain_values, as_a_stream, as_plain_values_of_a_stream]
)
def test_answers_come_back_in_a_second_turn(client: Any, answer: Any) -> None:
    """As OpenAI's client hands them out, with all the nulls in them."""
    question = {"role": "user", "content": "na tano"}
    answered = answer(client)
    by_hand = {"role": "assistant", "content": dict(answered)["content"]}
    written = [*MESSAGES, by_hand, question]
    asked = {"messages": [*MESSAGES, answered, question]}
    expected = ask_client(client, messages=written).choices[0].message.content
    assert ask_client(client, **asked).choices[0].message.content == expected
    chunks = ask_client(client, stream=True, **asked)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected


def test_parts_of_messages(client: Any) -> None:
    parts = [{"type": "text", "text": "ana mayai"}, {"type": "text", "text": "nne tatu"}]
    joined = [{"role": "user", "content": "ana mayai\nnne tatu"}]
    assert (
        ask_client(client, messages=[{"role": "user", "content": parts}]).choices[0].message
        == ask_client(client, messages=joined).choices[0].message
    )


NOTHING = {
    **{"best_of": 1, "echo": False, "frequency_penalty": 0.0, "functions": [], "logit_bias": {}},
    **{"modalities": ["text"], "parallel_tool_calls": True, "presence_penalty": 0, "suffix": ""},
    **{"response_format": {"type": "text"}, "store": False, "tool_choice": "auto", "tools": []},
    **{"metadata": {"a": "b"}, "service_tier": "auto", "user": "me", "safety_identifier": "me"},
}
NULLS = dict.fromkeys(
    [
        *("audio", "best_of", "echo", "frequency_penalty", "function_call", "functions"),
        *("layalign", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata"),
        *("modalities", "model", "n", "parallel_tool_calls", "prediction", "presence_penalty"),
        *("reasoning_effort", "response_format", "seed", "service_tier", "stop", "store"),
        *("stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs"),
        *("top_p", "user", "verbosity", "web_search_options"),
    ]
)


@pytest.mark.parametrize("settings", [NOTHING, NULLS], ids=["neutral", "null"])
def test_what_changes_nothing_is_taken(server: LiveServer, settings: dict[str, Any]) -> None:
    told = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "name"))
    silent = {"role": "assistant", "content": None, "tool_calls": [], **told}
    turns = [*MESSAGES, silent, *MESSAGES]
    empty = [*MESSAGES, {"role": "assistant", "content": ""}, *MESSAGES]
    found = [
        send(server, body)[1]["choices"]
        for body in ({"messages": turns, **settings}, {"messages": empty})
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("settings", [NOTHING, NULLS], ids=["neutral", "null"])
def test_also_of_completions(server: LiveServer, settings: dict[str, Any]) -> None:
    plain = send(server, {"prompt": "nne"}, "/v1/completions")[1]["choices"]
    body = {**settings, "prompt": "nne"}
    known = {
        name: body[name] for name in body if name not in ("max_completion_tokens", "top_logprobs")
    }
    assert send(server, known, "/v1/completions")[1]["choices"] == plain
