"""Clients that hold a connection without asking, or without reading, keep nobody out."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from layalign.serve import server as servers
from layalign.serve.engine import Limits
from serving import (
    MESSAGES,
    NAME,
    LiveServer,
    connect,
    get,
    held,
    live_server,
    make_tiny_systems,
    send,
    until,
)

pytest.importorskip("uvicorn")
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """With room for seven connections, and little patience."""
    from layalign.serve import connections

    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    monkeypatch.setattr(servers, "SPARE_CONNECTIONS", 5)
    with live_server(make_tiny_systems(), Limits(max_running=1, max_waiting=1)) as server:
        yield server


def opened(server: LiveServer, data: bytes = b"") -> socket.socket:
    """A connection on which something has been sent."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.settimeout(30)
    connection.sendall(data)
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(4096), b""))


def is_refused(connection: socket.socket, data: bytes) -> bool:
    """Send more, which the server may take no longer."""
    try:
        connection.sendall(data)
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        return True
    return False


@pytest.mark.parametrize(
    "data",
    [b"", HEALTH[:30], HEALTH + HEALTH[:30]],
    ids=["nothing", "half a head", "half a second head"],
)
def test_without_a_head_a_connection_is_closed(server: LiveServer, data: bytes) -> None:
    idle = [opened(server, data) for _ in range(8)]
    until(lambda: get(server, "/health")[0] == 200)
    for connection in idle:
        answers = read_all(connection)
        assert answers.count(b"HTTP/1.1") == data.count(HEALTH)
        connection.close()


def test_a_head_that_trickles_in_does_not_help(server: LiveServer) -> None:
    """Every byte would start uvicorn's own clock anew."""
    with opened(server) as connection:
        until(lambda: is_refused(connection, b"G"))


def test_an_answer_may_take_longer(server: LiveServer) -> None:
    body = {"messages": MESSAGES, "max_tokens": 2}
    with held(server.engine), opened(server) as other:
        answer = connect(server, body)
        assert read_all(other) == b""  # by now one without a head is closed
    assert b"200 OK" in answer.recv(100)
    answer.close()
    assert send(server, body)[0] == 200


def test_clients_that_read_nothing_are_cut_off(server: LiveServer) -> None:
    """More answers than any buffer holds, and none is read."""
    page = HEALTH.replace(b"health", b"openapi.json")
    with opened(server) as connection:
        connection.settimeout(0.3)
        until(lambda: is_refused(connection, page * 100))
        until(lambda: not server.server.server_state.connections)
    assert get(server, "/health")[0] == 200


def test_half_a_body_is_not_waited_for(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layalign.serve.app.BODY_SECONDS", 0.1)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    with opened(server, head + b"Content-Type: application/json\r\n\r\n{") as connection:
        answer = read_all(connection)
    assert b" 408 " in answer
    assert b"no whole request came in 0.1 s" in answer


def test_connections_outlive_their_places_in_clients_pools() -> None:
    """Else a request may go to a connection that is just being closed."""
    in_pools_of_openai = 5
    config = servers.make_server(make_tiny_systems(), NAME).config
    assert config.timeout_keep_alive > in_pools_of_openai


def test_a_slow_head_passes() -> None:
    with live_server(make_tiny_systems()) as server, opened(server) as connection:
        for byte in HEALTH:
            connection.sendall(bytes([byte]))
            time.sleep(0.002)
        assert b"200 OK" in connection.recv(100)
