"""One system and its running rows: jobs join between two steps, and leave when they are done."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

from layalign.eval.systems import BatchedSystem
from layalign.serve.jobs import Job
from layalign.serve.rows import Rows, begin

logger = logging.getLogger(__name__)


class Lane:
    """Decodes all jobs of one system together.

    What fails for all is tried again for each job alone, so that only those that fail alone are
    given up. All of it runs on the engine's thread.

    Args:
        system: What answers.
    """

    def __init__(self, system: BatchedSystem) -> None:
        """Start without jobs."""
        self.system = system
        self.jobs: list[Job] = []
        self._rows: Rows | None = None

    def admit(self, jobs: Sequence[Job]) -> None:
        """Let the model read the prompts of further jobs and choose their first tokens."""
        with self.system.evaluating():
            try:
                rows, logits = begin(self.system, [job.prompt.feature for job in jobs])
            except Exception as error:
                if len(jobs) == 1:
                    return give_up(jobs[0], error)
                for job in jobs:
                    self.admit([job])
                return None
            self._join(jobs, rows, logits)
        return None

    def step(self) -> None:
        """Add one token to every job."""
        if self._rows is None:
            return
        jobs, rows = self.jobs, self._rows
        self.jobs, self._rows = [], None
        with self.system.evaluating():
            self._step(jobs, rows)

    def sweep(self, now: float) -> list[Job]:
        """Drop jobs that are cancelled or have run out of time, and return them."""
        dropped = [job for job in self.jobs if expire(job, now)]
        if dropped and self._rows is not None:
            kept = [i for i, job in enumerate(self.jobs) if job.reason is None]
            self._rows = self._rows.select(kept) if kept else None
            self.jobs = [self.jobs[i] for i in kept]
        return dropped

    def abandon(self, error: Exception) -> list[Job]:
        """Give up all jobs, and return them."""
        jobs, self.jobs, self._rows = self.jobs, [], None
        for job in jobs:
            give_up(job, error)
        return jobs

    def _step(self, jobs: Sequence[Job], rows: Rows) -> None:
        try:
            logits = rows.step(self.system.model, [job.last_token() for job in jobs])
        except Exception as error:
            if len(jobs) == 1:
                return give_up(jobs[0], error)
            for i, job in enumerate(jobs):
                self._step([job], rows.select([i]))
            return None
        self._join(jobs, rows, logits)
        return None

    def _join(self, jobs: Sequence[Job], rows: Rows, logits: Tensor) -> None:
        """Choose tokens, and keep the rows of jobs that go on beside those that are here."""
        kept = [i for i, row in enumerate(logits.float().cpu()) if _take(jobs[i], row)]
        if not kept:
            return
        try:
            going = rows if len(kept) == len(jobs) else rows.select(kept)
            joined = going if self._rows is None else self._rows.join(going)
        except Exception as error:  # memory, of which the rows that are here need no more
            for i in kept:
                give_up(jobs[i], error)
            return
        self._rows = joined
        self.jobs += [jobs[i] for i in kept]


def expire(job: Job, now: float) -> bool:
    """End a job that is cancelled or has run out of time; returns whether it was."""
    if job.cancelled:
        job.fail("cancelled")
    elif now > job.deadline:
        job.fail("timeout", "the answer took longer than the server allows")
    return job.reason is not None


def _take(job: Job, logits: Tensor) -> bool:
    try:
        return job.take(logits)
    except Exception as error:
        give_up(job, error)
        return False


def give_up(job: Job, error: Exception) -> None:
    """End a job because of an error, unless it has ended."""
    if job.reason is not None:
        return
    # The message may quote the user's text, so it is no matter for the log.
    logger.error("an answer failed: %s", type(error).__name__)
    logger.debug("the failure was", exc_info=error)
    job.fail("error", f"the answer failed ({type(error).__name__}); the server's log may say more")
