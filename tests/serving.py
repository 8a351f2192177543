"""An engine and a live server with tiny models, and somebody to ask them."""

from __future__ import annotations

import http.client
import json
import queue
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from factories import WORDS, make_language_model, make_model, make_processor
from layalign.data import Example
from layalign.eval.loading import make_systems
from layalign.eval.systems import LAYALIGN, BatchedSystem
from layalign.serve.engine import Engine, Limits
from layalign.serve.jobs import Job, Piece
from layalign.serve.sampling import Sampling
from layalign.serve.server import make_server, url

Systems = dict[str, BatchedSystem]
WAIT = 60  # seconds; only how soon a hanging test fails
NAME = "tiny"
QUESTION = "ana mayai nne tatu"
MESSAGES = [{"role": "user", "content": QUESTION}]
GATE = 0.1
"""Small enough that the answer depends on both the encoder's text and the language model's."""


def make_tiny_systems(model: Any = None, **processor: Any) -> Systems:
    """LayAlign and its bare language model; without another model, answers never end early."""
    if model is None:
        model = make_model(make_language_model(eos_token_id=None), gate=GATE)
    processor.setdefault("prompt_template", "{question} the answer is")
    return make_systems(model, make_processor(**processor))


def questions(count: int, seed: int = 0) -> list[str]:
    """Random words."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 12))) for _ in range(count)]


def offline(
    system: BatchedSystem, texts: Sequence[str], length: int, *, batch_size: int = 32
) -> list[str]:
    """What generation says without an engine."""
    system.max_new_tokens = length
    examples = [Example(text=text, language="en") for text in texts]
    return [answer.text for answer in system.answer(examples, batch_size=batch_size)]


@dataclass
class Answer:
    """Collects the pieces of one answer."""

    told: queue.Queue[Piece] = field(default_factory=queue.Queue)
    pieces: list[Piece] = field(default_factory=list)
    job: Job = field(init=False)

    def wait(self) -> Answer:
        """Until the answer has ended."""
        while not self.pieces or self.pieces[-1].reason is None:
            self.pieces.append(self.told.get(timeout=WAIT))
        return self

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.wait().pieces)

    @property
    def tokens(self) -> list[int]:
        return [piece.chosen.token for piece in self.wait().pieces if piece.chosen]

    @property
    def logprobs(self) -> list[float]:
        return [piece.chosen.logprob or 0.0 for piece in self.wait().pieces if piece.chosen]

    @property
    def reason(self) -> str | None:
        return self.wait().pieces[-1].reason


def ask(engine: Engine, text: str, system: str = LAYALIGN, **sampling: Any) -> Answer:
    """Submit a question as offline generation reads it."""
    answer = Answer()
    feature = engine.systems[system]._encode(Example(text=text, language="en"))
    prompt = engine.prompt(system, feature)
    (answer.job,) = engine.submit([(prompt, Sampling(**sampling), answer.told.put)])
    return answer


@contextmanager
def held(engine: Engine) -> Iterator[Answer]:
    """Stop the engine in the middle of an answer of three tokens, after the first."""
    reached, go_on, answer = threading.Event(), threading.Event(), Answer()

    def listen(piece: Piece) -> None:
        answer.told.put(piece)
        reached.set()
        assert go_on.wait(WAIT)

    prompt = engine.prompt(
        LAYALIGN, engine.systems[LAYALIGN]._encode(Example(text="how many", language="en"))
    )
    (answer.job,) = engine.submit([(prompt, Sampling(max_new_tokens=3), listen)])
    assert reached.wait(WAIT)
    try:
        yield answer
    finally:
        go_on.set()


def until(happened: Any) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + WAIT
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


@contextmanager
def live_server(systems: Systems, limits: Limits | None = None, **options: Any) -> Iterator[Any]:
    """Serve on a free port of this machine; gives address and engine."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = make_server(systems, NAME, limits, **options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        yield LiveServer(url(listener), server)
    finally:
        server.should_exit = True
        thread.join(WAIT)


@dataclass
class LiveServer:
    """What a test needs to know of a running server."""

    url: str
    server: Any

    @property
    def engine(self) -> Engine:
        """What answers."""
        engine: Engine = self.server.config.app.app.state.service.engine
        return engine


def ask_client(client: Any, **settings: Any) -> Any:
    """A conversation with OpenAI's client."""
    settings = {"model": NAME, "messages": MESSAGES, "max_tokens": 5, **settings}
    return client.chat.completions.create(**settings)


def send(server: LiveServer, body: Any, path: str = "/v1/chat/completions", **headers: str) -> Any:
    """A request by hand; gives status and decoded body."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    connection.request("POST", path, data, headers)
    response = connection.getresponse()
    found = json.loads(response.read())
    connection.close()
    return response.status, found


def get(server: LiveServer, path: str, **headers: str) -> tuple[int, str]:
    """The same without a body; gives status and text."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def connect(server: LiveServer, body: dict[str, Any]) -> socket.socket:
    """Send a request and leave the answer to the caller."""
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
    head += f"\r\nContent-Length: {len(data)}"
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(f"{head}\r\n\r\n".encode() + data)
    return connection
