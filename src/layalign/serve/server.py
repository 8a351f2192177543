"""Serve a checkpoint until the process is told to stop."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import socket
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from layalign.errors import ConfigError, ServeError
from layalign.serve.engine import Engine, Limits
from layalign.serve.guards import Guard

if TYPE_CHECKING:
    from collections.abc import Mapping

    import uvicorn

    from layalign.analysis.weights import Weights
    from layalign.eval.systems import BatchedSystem

logger = logging.getLogger(__name__)

MAX_BYTES = 1 << 20
"""Largest body of a request."""

MOST_PORT = 65535

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

SPARE_CONNECTIONS = 100
"""Connections beyond those of answers that run or wait: idle ones, and those turned away."""

GRACE = 30.0
"""Seconds that a request may take beside its answer: to be sent and to be read."""


def serve(
    checkpoint: str | PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    dtype: str | None = None,
    api_key: str | None = None,
    allow_anyone: bool = False,
    limits: Limits | None = None,
    drain: float = 30.0,
    page: bool = False,
) -> None:
    """Load a checkpoint, or a plain language model, and answer requests until a signal comes.

    On SIGTERM or SIGINT nothing new is taken, and answers under way are finished first.

    Args:
        checkpoint: As in :func:`layalign.generate`.
        host: Address to listen on.
        port: Port to listen on.
        name: What clients call the model; by default the last part of the checkpoint's name.
        dtype: Arithmetic type of the models; see :func:`layalign.eval.loading.load_systems`.
        api_key: What clients have to show as a bearer token.
        allow_anyone: Listen to other machines without a key.
        limits: How much is done at once.
        drain: Seconds that answers under way are given at the end.
        page: Whether there is a page at ``/`` to try the checkpoint on.

    Raises:
        ConfigError: The address is open to others, and there is no key.
        ServeError: Something that is needed is not installed, or the port is taken.
        LayAlignError: The checkpoint cannot be used.
    """
    _check_installed()
    if api_key is None and not allow_anyone and not _is_local(host):
        raise ConfigError(
            f"{host} is open to other machines, and there is no key; set LAYALIGN_API_KEY, or let "
            "anyone in with --allow-anyone"
        )
    with _listen(host, port) as listener:
        from layalign.analysis.weights import read_weights
        from layalign.eval.loading import load_systems

        weights = read_weights(checkpoint) if page else None
        systems = load_systems(checkpoint, dtype=dtype)
        name = name or Path(checkpoint).absolute().name
        server = make_server(
            systems,
            name,
            limits,
            api_key=api_key,
            is_local=_is_local(host),
            drain=drain,
            weights=weights,
        )
        listener.listen()  # from here on clients wait, and are not refused
        logger.info("serving %s at %s", name, url(listener))
        server.run(sockets=[listener])


def make_server(
    systems: Mapping[str, BatchedSystem],
    name: str,
    limits: Limits | None = None,
    *,
    api_key: str | None = None,
    is_local: bool = True,
    drain: float = 30.0,
    weights: Weights | None = None,
) -> uvicorn.Server:
    """Put engine, application and HTTP server together; ``run(sockets=[…])`` starts them.

    Args:
        systems: What answers, from :func:`layalign.eval.loading.load_systems`.
        name: What clients call the model.
        limits: How much is done at once.
        api_key: What clients have to show as a bearer token.
        is_local: Whether only this machine is listened to. Then requests that name another host
            are refused, so that no page in a browser can pass itself off as this one.
        drain: Seconds that answers under way are given at the end.
        weights: The checkpoint's mixing weights; with them there is a page to try it on.
    """
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from layalign.serve.app import make_app
    from layalign.serve.connections import HEAD_SECONDS, Connection
    from layalign.serve.metrics import Metrics

    limits, metrics = limits or Limits(), Metrics()
    app = make_app(Engine(systems, limits, on_end=metrics.ended), metrics, name, weights=weights)
    if is_local:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL_HOSTS))
    guard = Guard(app, api_key=api_key, max_bytes=MAX_BYTES, seconds=limits.timeout + GRACE)
    return uvicorn.Server(
        uvicorn.Config(
            guard,
            http=Connection,
            ws="none",
            log_config=None,  # its messages go where the library's go
            access_log=False,
            server_header=False,
            limit_concurrency=limits.max_running + limits.max_waiting + SPARE_CONNECTIONS,
            timeout_keep_alive=round(HEAD_SECONDS),  # clients' pools let go first, after 5 s
            timeout_graceful_shutdown=max(1, round(drain)),
        )
    )


def url(listener: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_installed() -> None:
    for module in ("fastapi", "prometheus_client", "uvicorn"):
        if importlib.util.find_spec(module) is None:
            raise ServeError(f"{module} is not installed; run: pip install 'layalign[serve]'")


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before minutes are spent on loading."""
    if port > MOST_PORT:
        raise ConfigError(f"port is {port}; expected 1 to {MOST_PORT}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServeError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another one "
            "with --port"
        ) from error
    return listener
