"""Stop a run on SIGTERM or Ctrl-C, where it can be taken up again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from layalign.errors import StopError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Somebody's wish that a run ends.

    It is fulfilled at once, except inside :meth:`held`: a training loop asks at places where it can
    save what it has done.

    Attributes:
        signal: Which signal came; None as long as none has.
    """

    def __init__(self) -> None:
        """Nothing is asked for yet."""
        self.signal: signal.Signals | None = None
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Leave it to the code inside to look at :attr:`signal` and end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal. Whoever presses Ctrl-C twice does not want to wait.

        Raises:
            StopError: Unless it is held.
        """
        impatient = self.signal is not None and number == signal.SIGINT
        self.signal = signal.Signals(number)
        if impatient or not self._held:
            raise self.error("what was finished before is kept")

    def error(self, done: str) -> StopError:
        """What to raise.

        Args:
            done: What there is to go on from.
        """
        number = self.signal or signal.SIGTERM
        return StopError(f"stopped by {number.name}: {done}; it can be resumed", number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and Ctrl-C into a request, for a run inside.

    Signals reach the main thread alone; in any other nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
