"""What the server has done, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layalign.serve.engine import Engine
    from layalign.serve.jobs import Job

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)


class Metrics:
    """Figures of one engine, in a registry of their own."""

    def __init__(self) -> None:
        """Start at zero."""
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = own = CollectorRegistry()
        name = "layalign_"
        self._answers = Counter(
            f"{name}answers", "Answers, by why they ended", ["reason"], registry=own
        )
        self._turned_away = Counter(
            f"{name}turned_away", "Requests for which the queue had no room", registry=own
        )
        self._prompt = Counter(f"{name}prompt_tokens", "Tokens of prompts read", registry=own)
        self._written = Counter(f"{name}answer_tokens", "Tokens of answers written", registry=own)
        self._first = Histogram(
            f"{name}first_token_seconds",
            "From request to first token",
            buckets=_SECONDS,
            registry=own,
        )
        self._whole = Histogram(
            f"{name}answer_seconds", "From request to last token", buckets=_SECONDS, registry=own
        )
        self._waiting = Gauge(f"{name}waiting", "Requests that wait", registry=own)
        self._running = Gauge(f"{name}running", "Answers under way", registry=own)

    def watch(self, engine: Engine) -> None:
        """Read how full an engine is whenever the figures are asked for."""
        self._waiting.set_function(lambda: engine.waiting)
        self._running.set_function(lambda: engine.running)

    def ended(self, job: Job) -> None:
        """Count an answer that has ended."""
        assert job.ended is not None
        self._answers.labels(job.reason).inc()
        self._written.inc(len(job.transcript.ids))
        self._whole.observe(job.ended - job.submitted)
        if job.first_token is not None:
            self._prompt.inc(job.prompt.length)
            self._first.observe(job.first_token - job.submitted)

    def turned_away(self) -> None:
        """Count a request for which there was no room."""
        self._turned_away.inc()

    def text(self) -> str:
        """The figures in Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry).decode()
