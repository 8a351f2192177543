"""Answers under way, from the engine's thread into an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from layalign.serve.engine import Engine
from layalign.serve.jobs import Piece, Prompt
from layalign.serve.sampling import Sampling


class Pending:
    """All answers to one request.

    Args:
        engine: What answers.
        asked: Prompts and how each is answered.

    Raises:
        LayAlignError: The engine does not take them.
    """

    def __init__(self, engine: Engine, asked: Sequence[tuple[Prompt, Sampling]]) -> None:
        """Submit them; to be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[tuple[int, Piece]] = asyncio.Queue()
        self.jobs = engine.submit(
            [(*one, self._listener(index)) for index, one in enumerate(asked)]
        )

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Yield pieces with the position of their answer, as they come, until all have ended."""
        under_way = len(self.jobs)
        while under_way:
            index, piece = await self._news.get()
            under_way -= piece.reason is not None
            yield index, piece

    async def whole(self) -> list[list[Piece]]:
        """Wait for all pieces; those of an answer that failed end with its error."""
        answers: list[list[Piece]] = [[] for _ in self.jobs]
        async for index, piece in self.pieces():
            answers[index].append(piece)
        return answers

    def cancel(self) -> None:
        """Nobody wants the answers any more."""
        for job in self.jobs:
            job.cancel()

    def _listener(self, index: int) -> Callable[[Piece], None]:
        def tell(piece: Piece) -> None:
            self._loop.call_soon_threadsafe(self._news.put_nowait, (index, piece))

        return tell
