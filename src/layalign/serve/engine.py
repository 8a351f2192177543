"""The engine: requests wait in a bounded queue, and are answered together by one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from math import ceil
from typing import TypeVar

from transformers import PreTrainedConfig

from layalign.errors import ConfigError, DataError, ServeError
from layalign.eval.systems import BatchedSystem, Feature, LayAlignSystem
from layalign.model import LayAlignModel
from layalign.serve.jobs import Job, Listener, Prompt
from layalign.serve.lane import Lane, expire, give_up
from layalign.serve.rows import check_cache, prompt_length
from layalign.serve.sampling import Sampling

T = TypeVar("T")
_CLOSING = "the server is shutting down and takes no more requests"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is done at once.

    Raises:
        ConfigError: A value is not above 0.
    """

    max_running: int = 32
    """Answers written at the same time."""

    max_waiting: int = 128
    """Requests that wait for their turn; more are turned away."""

    max_joining: int = 8
    """Prompts read between two tokens of the running answers, which wait for it."""

    max_new_tokens: int = 512
    """Longest answer, tokens."""

    max_prompt_tokens: int = 4096
    """Longest prompt, positions that the language model reads."""

    timeout: float = 300.0
    """Seconds from submission until an answer is given up."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"{name} is {value}; expected more than 0")


class QueueFullError(ServeError):
    """As many requests wait as may.

    Attributes:
        retry_after: Seconds after which there should be room.
    """

    def __init__(self, waiting: int, retry_after: int) -> None:
        """Say when to come back."""
        super().__init__(f"{waiting} requests are waiting already; try again in {retry_after} s")
        self.retry_after = retry_after


class ClosingError(ServeError):
    """The engine takes no more requests."""


Ask = tuple[Prompt, Sampling, Listener]
"""What is to be answered, how, and who is told."""


class Engine:
    """Answers requests with continuous batching, on a thread of its own.

    Use it as a context manager, or call :meth:`start` and :meth:`close`. Nothing else may use the
    models in the meantime.

    Args:
        systems: What answers, by name, from :func:`layalign.eval.loading.load_systems`.
        limits: How much is done at once.
        on_end: Told every job that has ended, on the engine's thread; must not block.

    Raises:
        BackboneError: The language model's cache cannot be batched like this.
    """

    def __init__(
        self,
        systems: Mapping[str, BatchedSystem],
        limits: Limits | None = None,
        *,
        on_end: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """Prepare the lanes."""
        self.systems = dict(systems)
        self.limits = limits or Limits()
        for system in self.systems.values():
            check_cache(_language_config(system))
        self._lanes = {name: Lane(system) for name, system in self.systems.items()}
        self._waiting: deque[Job] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._on_end = on_end
        self._seconds = 1.0  # a running mean of how long an answer takes
        self._thread = threading.Thread(target=self._run, name="layalign-engine", daemon=True)

    def __enter__(self) -> Engine:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finish what is under way, and stop."""
        self.close()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, *, timeout: float | None = None) -> None:
        """Take no more requests, finish those that are here, and stop.

        Args:
            timeout: Seconds after which the rest is given up; None for no end.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            with self._changed:
                for job in self._jobs():
                    job.cancel()
            self._thread.join()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Answers under way."""
        return sum(len(lane.jobs) for lane in self._lanes.values())

    @property
    def is_alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive() and not self._closing

    def prompt(self, system: str, feature: Feature) -> Prompt:
        """Check what is to be answered.

        Args:
            system: Name of what answers.
            feature: The ids of the prompt.

        Raises:
            DataError: The prompt is empty or too long, or has ids that the model does not know.
        """
        length = prompt_length(self.systems[system], feature)
        most = self.limits.max_prompt_tokens
        if not 1 <= length <= most:
            raise DataError(f"the prompt has {length} tokens; expected 1 to {most}")
        _check_ids(self.systems[system], feature)
        return Prompt(system=system, feature=feature, length=length)

    def submit(self, asked: Sequence[Ask]) -> list[Job]:
        """Ask for some answers: all of them, or none.

        Args:
            asked: Prompts from :meth:`prompt`, how each is answered, and who is told.

        Raises:
            QueueFullError: Too many are waiting.
            ClosingError: The engine is closing.
            DataError: A prompt and its longest answer do not fit the language model, or these are
                more answers than ever may wait.
        """
        jobs = [self._job(*one) for one in asked]
        most = self.limits.max_waiting
        if len(jobs) > most:
            raise DataError(f"{len(jobs)} answers are asked for at once; expected at most {most}")
        with self._changed:
            if not self.is_alive:
                raise ClosingError(_CLOSING)
            if len(self._waiting) + len(jobs) > most:
                raise QueueFullError(len(self._waiting), self._retry_after())
            self._waiting.extend(jobs)
            self._changed.notify()
        return jobs

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run something with the models on the engine's thread, between two tokens.

        Unless the future is cancelled before its turn.

        Raises:
            QueueFullError: Too many calls are waiting.
            ClosingError: The engine is closing.
        """
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        with self._changed:
            if not self.is_alive:
                raise ClosingError(_CLOSING)
            if len(self._calls) >= self.limits.max_waiting:
                raise QueueFullError(len(self._calls), self._retry_after())
            self._calls.append(run)
            self._changed.notify()
        return future

    def _job(self, prompt: Prompt, sampling: Sampling, listener: Listener) -> Job:
        system = self.systems[prompt.system]
        settings = system.model.generation_config
        penalty = sampling.repetition_penalty
        sampling = replace(
            sampling,
            max_new_tokens=self._longest(prompt, sampling.max_new_tokens),
            repetition_penalty=settings.repetition_penalty if penalty is None else penalty,
        )
        return Job(
            prompt,
            sampling,
            tokenizer=system.tokenizer,
            ends=system.ends,
            listener=listener,
            timeout=self.limits.timeout,
        )

    def _longest(self, prompt: Prompt, wanted: int | None) -> int:
        """The longest answer, if it fits both the limits and the language model."""
        most = self.limits.max_new_tokens
        config = _language_config(self.systems[prompt.system])
        room = (getattr(config, "max_position_embeddings", None) or most) - prompt.length
        room = min(most, room)
        if wanted is None and room > 0:
            return room
        if wanted is None or wanted > room:
            raise DataError(
                f"the prompt takes {prompt.length} tokens and the answer may take "
                f"{wanted or 1} more, but there is room for {max(room, 0)}; shorten the prompt "
                "or ask for fewer tokens"
            )
        return wanted

    def _retry_after(self) -> int:
        turns = (len(self._waiting) + self.running) / self.limits.max_running
        return max(1, min(60, ceil(turns * self._seconds)))

    def _run(self) -> None:
        while self._wait():
            try:
                self._turn()
            except Exception as error:  # our own mistake, but nobody shall wait for ever
                self._abandon(error)

    def _abandon(self, error: Exception) -> None:
        """Give up all answers, so that the next request finds the engine as it was at first."""
        lost = [job for lane in self._lanes.values() for job in lane.abandon(error)]
        with self._changed:
            lost += self._waiting
            self._waiting.clear()
        for job in lost:
            give_up(job, error)
        self._note(lost)

    def _turn(self) -> None:
        """Let jobs leave and join, and add one token to every answer."""
        self._sweep()
        if self._calls:
            self._calls.popleft()()
        for name, jobs in self._next().items():
            self._lanes[name].admit(jobs)
            self._note(jobs)
        for lane in self._lanes.values():
            jobs = lane.jobs
            lane.step()
            self._note(jobs)

    def _wait(self) -> bool:
        """Sleep until there is something to do; False when there never will be again."""
        with self._changed:
            while not self._waiting and not self._calls and not self.running:
                if self._closing:
                    return False
                self._changed.wait()
        return True

    def _sweep(self) -> None:
        now = time.monotonic()
        for lane in self._lanes.values():
            self._note(lane.sweep(now))
        with self._changed:
            dropped = [job for job in self._waiting if expire(job, now)]
            if dropped:
                self._waiting = deque(job for job in self._waiting if job.reason is None)
        self._note(dropped)

    def _next(self) -> dict[str, list[Job]]:
        """Take jobs whose turn it is from the queue, by system."""
        found: dict[str, list[Job]] = {}
        with self._changed:
            room = min(self.limits.max_running - self.running, self.limits.max_joining)
            for _ in range(min(room, len(self._waiting))):
                job = self._waiting.popleft()
                found.setdefault(job.prompt.system, []).append(job)
        return found

    def _note(self, jobs: Sequence[Job]) -> None:
        """Tell of those of these jobs that have ended."""
        for job in jobs:
            if job.ended is not None:
                self._seconds += 0.1 * (job.ended - job.submitted - self._seconds)
                self._on_end(job)

    def _jobs(self) -> list[Job]:
        return [*self._waiting, *(job for lane in self._lanes.values() for job in lane.jobs)]


def _language_config(system: BatchedSystem) -> PreTrainedConfig:
    model = system.model
    language_model = model.language_model if isinstance(model, LayAlignModel) else model
    return language_model.config.get_text_config()


def _check_ids(system: BatchedSystem, feature: Feature) -> None:
    """Refuse ids without an embedding: looking one up would fail for the whole batch."""
    sizes = {"input_ids": _language_config(system).vocab_size}
    if isinstance(system, LayAlignSystem):
        sizes["encoder_input_ids"] = system.model.config.encoder_config.vocab_size
    for name, size in sizes.items():
        for token in feature[name]:
            if not 0 <= token < size:
                raise DataError(f"{name} has the id {token}; expected 0 to {size - 1}")
