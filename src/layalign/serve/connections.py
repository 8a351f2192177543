"""Connections of clients, and the end of those that are held without asking or reading."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""Seconds that a client has for the head of a request, from connecting or from the last answer."""

UNREAD_SECONDS = 30.0
"""Seconds after which a client that reads nothing of its answers is cut off."""


class Connection(H11Protocol):
    """A connection that ends when its client stops; uvicorn alone would wait for ever.

    Nobody has shown a key before the head of a request is there, and connections are counted:
    those that are only held would keep everybody else out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Wait for nothing yet."""
        super().__init__(*args, **kwargs)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request, which may complete its head."""
        super().data_received(data)
        self._expect_head()

    def on_response_complete(self) -> None:
        """Wait for the next request; uvicorn does so too, but only for its first byte."""
        super().on_response_complete()
        self._expect_head()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Go on, unless the connection is to end: then the rest has to be read as well."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop("reading")

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop("head")
        self._stop("reading")
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop("head")
        elif "head" not in self._timers:
            self._timers["head"] = self.loop.call_later(HEAD_SECONDS, self._close)

    def _close(self) -> None:
        self.transport.close()  # once all answers are read
        self._expect_reading()

    def _expect_reading(self, before: float = math.inf) -> None:
        """Cut the client off if it has left as many bytes unread as before."""
        self._stop("reading")
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        else:
            again = self.loop.call_later(UNREAD_SECONDS, self._expect_reading, left)
            self._timers["reading"] = again

    def _stop(self, name: str) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()
