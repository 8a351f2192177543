"""OpenAI's own client, unmodified, against a live server; and what is no client at all."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import layalign.serve.app
from layalign.eval.systems import BARE, LAYALIGN
from layalign.serve.engine import Limits
from layalign.serve.prompts import Reader
from layalign.serve.schema import read_request
from serving import (
    MESSAGES,
    NAME,
    QUESTION,
    WAIT,
    LiveServer,
    ask_client,
    connect,
    get,
    held,
    live_server,
    make_tiny_systems,
    offline,
    send,
    until,
)

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    limits = Limits(max_running=4, max_waiting=6, max_new_tokens=100, timeout=30)
    with live_server(make_tiny_systems(), limits) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == [NAME, f"{NAME}-bare"]
    assert client.models.retrieve(f"{NAME}-bare").id == f"{NAME}-bare"
    with pytest.raises(openai.NotFoundError, match="there is no model 'other'") as refused:
        client.models.retrieve("other")
    assert refused.value.code == "model_not_found"


def test_chat_is_offline_generation(client: Any, server: LiveServer) -> None:
    systems = server.engine.systems
    found = ask_client(client)
    assert [found.choices[0].message.content] == offline(systems[LAYALIGN], [QUESTION], 5)
    assert found.choices[0].finish_reason == "length"
    assert found.usage.completion_tokens == 5
    assert found.usage.total_tokens == found.usage.prompt_tokens + 5
    (bare,) = offline(systems[BARE], [QUESTION], 5)
    assert ask_client(client, model=f"{NAME}-bare").choices[0].message.content == bare
    assert ask_client(client, extra_body={"layalign": "off"}).choices[0].message.content == bare
    assert bare != found.choices[0].message.content


def test_stream_is_the_answer_in_pieces(client: Any) -> None:
    whole = ask_client(client, logprobs=True, top_logprobs=2)
    options = {"include_usage": True}
    settings = {"logprobs": True, "top_logprobs": 2, "stream": True, "stream_options": options}
    *chunks, last = list(ask_client(client, **settings))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.choices == []
    assert last.usage == whole.usage
    streamed = [e for c in chunks if c.choices[0].logprobs for e in c.choices[0].logprobs.content]
    assert streamed == whole.choices[0].logprobs.content
    assert all(len(entry.top_logprobs) == 2 for entry in streamed)
    assert all(bytes(entry.bytes).decode() == entry.token for entry in streamed)


def test_several_answers(client: Any) -> None:
    settings = {"n": 3, "temperature": 1.5, "seed": 4}
    found = ask_client(client, **settings)
    texts = [choice.message.content for choice in found.choices]
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert found.usage.prompt_tokens == ask_client(client).usage.prompt_tokens
    assert found.usage.completion_tokens == 15
    streamed = ["", "", ""]
    for chunk in ask_client(client, stream=True, **settings):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_completions(client: Any) -> None:
    settings = {"model": NAME, "prompt": ["two eggs", "nne"], "max_tokens": 4, "logprobs": 2}
    found = client.completions.create(**settings)
    assert found.object == "text_completion"
    for choice in found.choices:
        assert "".join(choice.logprobs.tokens).replace(" ", "") == choice.text.replace(" ", "")
        assert [len(likeliest) for likeliest in choice.logprobs.top_logprobs] == [2] * 4
    streamed = ["", ""]
    offsets: list[list[int]] = [[], []]
    for chunk in client.completions.create(stream=True, **settings):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
        offsets[chunk.choices[0].index] += chunk.choices[0].logprobs.text_offset
    assert streamed == [choice.text for choice in found.choices]
    assert offsets == [choice.logprobs.text_offset for choice in found.choices]
    assert all(len(set(one)) == 4 for one in offsets)
    stop = found.choices[0].text.split()[1]
    cut = client.completions.create(model=NAME, prompt="two eggs", max_tokens=4, stop=[stop])
    assert cut.choices[0].text == found.choices[0].text.split(stop)[0]
    assert cut.choices[0].finish_reason == "stop"


def test_the_encoder_may_read_something_else(client: Any) -> None:
    found = [
        ask_client(client, logprobs=True, extra_body=extra).choices[0].logprobs.content[0].logprob
        for extra in ({}, {"language": "sw"}, {"encoder_text": QUESTION}, {"encoder_text": "nne"})
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0] == pytest.approx(found[2], abs=1e-4)
    assert found[0] != pytest.approx(found[3], abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": -1}, "temperature is -1.0; expected 0 to"),
        ({"top_p": 2}, "top_p is 2.0"),
        ({"max_tokens": 0}, "max_new_tokens is 0"),
        ({"max_tokens": 10**9}, "there is room for"),
        ({"n": 0}, "n is 0"),
        ({"n": 7}, "7 answers are asked for at once; expected at most 6"),
        ({"seed": 2**70}, "seed is"),
        ({"stop": [""]}, "a stop string is empty"),
        ({"stop": ["a"] * 17}, "expected at most 16, of at most 256 characters"),
        ({"stop": "a" * 257}, "expected at most 16, of at most 256 characters"),
        ({"logprobs": True, "top_logprobs": 21}, "logprobs is 21"),
        ({"top_logprobs": 2}, "without logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty is not supported"),
        ({"tools": [{"type": "function"}]}, "tools is not supported; leave it out"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
        ({"best_of": 2}, "best_of is not supported"),
        ({"store": True}, "store is not supported"),
        ({"temprature": None}, "did you mean 'temperature'"),
        ({"messages": None}, "messages is missing"),
        ({"messages": [1]}, "messages[0] is 1; expected a mapping"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]: content is missing"),
        ({"messages": [{"role": "user"}]}, "messages[0]: content is missing"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}, *MESSAGES]},
            "messages[0].tool_calls is not supported",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "rating": None}, *MESSAGES]},
            "unknown key 'messages[0].rating'",
        ),
        ({"stream_options": {}}, "without stream"),
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"messages": []}, "the last message is not the user's"),
        ({"messages": [{"role": "user", "content": "  "}]}, "is empty"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "half a character"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "robot"),
        ({"messages": [{"role": "user", "content": "nne " * 600}]}, "longer than the 512 tokens"),
        ({"language": "xx-nowhere"}, "language"),
        ({"layalign": "of"}, "layalign"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "unknown key 'messages[0].content[0].image_url'; expected one of text, type",
        ),
    ],
)
def test_wrong_requests(server: LiveServer, changed: dict[str, Any], message: str) -> None:
    status, found = send(server, {"model": NAME, "messages": MESSAGES, **changed})
    assert status == 400
    assert message in found["error"]["message"]
    assert found["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("prompt", "n"), [([], 1), (["nne"] * 129, 1), (["nne"] * 65, 2)], ids=["none", "129", "130"]
)
def test_wrong_numbers_of_prompts(server: LiveServer, prompt: list[str], n: int) -> None:
    status, found = send(server, {"prompt": prompt, "n": n}, "/v1/completions")
    assert status == 400
    assert "answers are asked for; expected 1 to 128" in found["error"]["message"]


def test_pages_of_other_origins_cannot_ask(server: LiveServer) -> None:
    """What a browser sends without asking first, because a form could send it, is refused."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        status, found = send(server, {"messages": MESSAGES}, **{"Content-Type": kind})
        assert status == 415
        assert "expected application/json" in found["error"]["message"]
    status, _ = send(
        server, {"messages": MESSAGES, "max_tokens": 1}, **{"Content-Type": "Application/JSON; a=b"}
    )
    assert status == 200


def test_no_text_of_users_is_logged(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even by a mistake of our own whose message quotes it."""

    def fail(*_: Any, **__: Any) -> None:
        raise KeyError(QUESTION)

    send(server, {"messages": MESSAGES, "max_tokens": 2})
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "chat", fail)
        status, found = send(server, {"messages": MESSAGES})
    assert status == 500
    assert "KeyError" in found["error"]["message"]
    assert found["error"]["type"] == "server_error"
    until(lambda: "a request failed: KeyError" in caplog.text)
    assert "mayai" not in caplog.text + json.dumps(found)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_garbage(server: LiveServer, body: bytes) -> None:
    status, found = send(server, body)
    assert status == 400
    assert "JSON" in found["error"]["message"]


def test_reading_a_request_holds_nobody_up(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def read(*given: Any) -> Any:
        assert go_on.wait(WAIT)
        return read_request(*given)

    monkeypatch.setattr(layalign.serve.app, "read_request", read)
    with ThreadPoolExecutor(1) as pool:
        try:
            asked = pool.submit(send, server, {"messages": MESSAGES, "max_tokens": 1})
            until(lambda: server.server.server_state.tasks)
            assert get(server, "/health")[0] == 200
        finally:
            go_on.set()
        assert asked.result()[0] == 200


def test_too_large(server: LiveServer) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/v1/completions")
    connection.putheader("Content-Length", str(1 << 21))
    connection.endheaders()  # refused before any of it is sent
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"]["code"] == "request_too_large"
    connection.close()
    chunks = (b" " * (1 << 18) for _ in range(8))
    try:
        kind = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", chunks, kind, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):  # refused before all was sent
        pass
    connection.close()


def test_other_paths_and_hosts(server: LiveServer) -> None:
    assert get(server, "/nothing")[0] == 404
    assert get(server, "/v1/chat/completions")[0] == 405
    error = json.loads(get(server, "/v1/responses")[1])["error"]
    assert (error["message"], error["code"]) == ("this server has no GET /v1/responses", None)
    assert get(server, "/v1/models", Host="evil.example")[0] == 400
    assert get(server, "/v1/models", Host="[::1]:8000")[0] == 200
    assert get(server, "/docs")[0] == 404


def test_a_full_server_says_when_to_come_back(server: LiveServer, client: Any) -> None:
    with held(server.engine):
        stream = ask_client(client, n=6, stream=True)
        with pytest.raises(openai.RateLimitError) as refused:
            ask_client(client)
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        assert json.loads(get(server, "/health")[1])["waiting"] == 6
    assert sum(chunk.choices[0].finish_reason == "length" for chunk in stream) == 6
    assert ask_client(client).choices
    assert "layalign_turned_away_total 1.0" in get(server, "/metrics")[1]


@pytest.mark.parametrize("stream", [True, False])
def test_clients_that_vanish_cancel_their_answers(server: LiveServer, stream: bool) -> None:
    engine = server.engine
    body = {"messages": MESSAGES, "max_tokens": 60, "stream": stream, "n": 4}
    with held(engine):
        connection = connect(server, body)
        until(lambda: engine.waiting == 4)
        jobs = list(engine._waiting)
        connection.close()
        until(lambda: all(job.cancelled for job in jobs))
    until(lambda: all(job.reason for job in jobs))
    assert {job.reason for job in jobs} == {"cancelled"}


def test_a_client_that_vanishes_in_the_middle(server: LiveServer) -> None:
    engine = server.engine
    connection = connect(server, {"messages": MESSAGES, "max_tokens": 60, "stream": True})
    assert b"200 OK" in connection.recv(100)
    connection.close()
    until(lambda: engine.running == engine.waiting == 0)


def test_answers_that_take_too_long() -> None:
    with live_server(make_tiny_systems(), Limits(timeout=0.05)) as server:
        with held(server.engine):
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0)
            stream = ask_client(client, stream=True)
            found: list[Any] = []
            body = {"messages": MESSAGES}
            thread = threading.Thread(target=lambda: found.append(send(server, body)))
            thread.start()
            until(lambda: server.engine.waiting == 2)
            time.sleep(0.1)
        with pytest.raises(openai.APIError, match="longer than the server allows"):
            list(stream)
        thread.join()
        client.close()
    ((status, error),) = found
    assert (status, error["error"]["type"]) == (504, "timeout")


def test_late_answers_are_not_asked_for_again() -> None:
    """OpenAI's client asks twice more whenever a server fails, unless it is told not to."""
    with live_server(make_tiny_systems(), Limits(timeout=0.05)) as server:
        engine = server.engine
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=2)
        with client, ThreadPoolExecutor(1) as pool:
            with held(engine):
                asked = pool.submit(ask_client, client)
                until(lambda: engine.waiting == 1)
                time.sleep(0.1)
            with pytest.raises(openai.InternalServerError, match="longer than the server allows"):
                asked.result()
        # Counted after the client is told. One that had asked again would be counted as well.
        counted = 'layalign_answers_total{reason="timeout"} 2.0'
        until(lambda: counted in get(server, "/metrics")[1])


def test_key() -> None:
    with live_server(make_tiny_systems(), api_key="secret") as locked:
        assert get(locked, "/health")[0] == 200
        for path in ("/metrics", "/v1/models", "/openapi.json"):
            assert get(locked, path)[0] == 401
            assert get(locked, path, Authorization="Bearer secre")[0] == 401
            assert get(locked, path, Authorization="Bearer secret")[0] == 200
        client = openai.OpenAI(base_url=f"{locked.url}/v1", api_key="wrong", max_retries=0)
        with client, pytest.raises(openai.AuthenticationError):
            ask_client(client)


def test_a_server_that_stops_finishes_its_answers() -> None:
    with live_server(make_tiny_systems()) as stopping:
        client = openai.OpenAI(base_url=f"{stopping.url}/v1", api_key="any", max_retries=0)
        with held(stopping.engine):
            stream = ask_client(client, stream=True, max_tokens=40)
            stopping.server.should_exit = True
        chunks = list(stream)
        client.close()
    assert chunks[-1].choices[0].finish_reason == "length"
    assert not stopping.engine.is_alive


def test_the_documented_client(server: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")
    snippet = page.split("```text\n")[1].split("```")[0]
    snippet = snippet.replace("http://127.0.0.1:8000", server.url).replace("smollm2-e5", NAME)
    exec(compile(snippet.replace("stream=True", "stream=True, max_tokens=5"), "page", "exec"), {})
    assert capsys.readouterr().out


def test_figures(server: LiveServer, client: Any) -> None:
    ask_client(client)
    text = get(server, "/metrics")[1]
    assert 'layalign_answers_total{reason="length"}' in text
    assert "layalign_running 0.0" in text
    assert "layalign_first_token_seconds_bucket" in text
    status, body = get(server, "/health")
    assert (status, json.loads(body)) == (200, {"status": "ok", "waiting": 0, "running": 0})
