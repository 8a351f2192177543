"""What stands before the application: the key, size and time of a request, and its failures."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from layalign.errors import ServeError
from layalign.serve.replies import error_json

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)

OPEN = ("/health",)
"""Paths that need no key."""


class TooLargeError(ServeError):
    """A request has more bytes than it may."""


class Guard:
    """An ASGI application in front of another one.

    Args:
        app: The other one.
        api_key: What ``Authorization: Bearer`` has to name; None for no key.
        max_bytes: Largest body of a request.
        seconds: Longest time from the first byte of a request to the last byte of its answer, for
            clients that stop sending or reading.
    """

    def __init__(self, app: App, *, api_key: str | None, max_bytes: int, seconds: float) -> None:
        """Take the settings."""
        self.app = app
        self._key = None if api_key is None else f"Bearer {api_key}".encode()
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if not self._is_allowed(scope["path"], headers):
            return await _refuse(send, 401, "the API key is missing or wrong", "invalid_api_key")
        if int(headers.get(b"content-length", b"0")) > self._max_bytes:
            return await _refuse(send, 413, self._too_large(), "request_too_large")
        from anyio import move_on_after  # of the extra

        with move_on_after(self._seconds):
            try:
                await self.app(scope, self._counted(receive), send)
            except Exception as error:  # has been told to the client; may quote the user's text
                logger.error("a request failed: %s", type(error).__name__)
                logger.debug("the failure was", exc_info=error)
        return None

    def _is_allowed(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if self._key is None or path in OPEN:
            return True
        return hmac.compare_digest(headers.get(b"authorization", b""), self._key)

    def _counted(self, receive: Receive) -> Receive:
        """Also bodies without a stated length must end."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                raise TooLargeError(self._too_large())
            return message

        return counted

    def _too_large(self) -> str:
        return f"the request is larger than {self._max_bytes} bytes"


async def _refuse(send: Send, status: int, message: str, code: str) -> None:
    body = json.dumps(error_json(message, "invalid_request_error", code=code)).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
