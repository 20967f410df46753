"""Where work runs: the contract, and the plain queue for where no application runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..inference.memory import drop_locals
from ..structures import Progress


class Cancelled(Exception):
    """Raised inside a job, by its progress callback, when it is no longer wanted."""


class PutBack(Exception):
    """Raised inside a job that has no more time now; it will be run again from the start."""


@dataclass(frozen=True)
class Job:
    """``work(progress)`` runs on the worker, then ``done`` or ``failed`` where it was submitted."""

    title: str
    work: Callable[[Progress], Any]
    done: Callable[[Any], None]
    failed: Callable[[Exception], None]


class Dispatcher(Protocol):
    """Runs one job at a time, in order."""

    def submit(self, job: Job) -> None:
        """Queue a job; returns at once."""

    def cancel(self) -> None:
        """Ask the running job to stop; its ``failed`` gets a `Cancelled`."""

    def process(self, deadline: float | None = None) -> None:
        """Let answers arrive: run queued work here, or let the application's events run.

        Work that runs here is put back when ``time.monotonic`` passes ``deadline``.
        """

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call soon; a second ``later`` with the same function restarts its delay."""

    @property
    def is_waiting(self) -> bool:
        """True while a `later` call is still to come."""

    def close(self, last: Callable[[], None]) -> None:
        """Stop; running work is cancelled, nothing is delivered any more.

        ``last`` runs on the worker after what runs there now.
        """


class InlineDispatcher:
    """A queue that `process` works off, a job a call."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._is_cancelled = False

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._is_cancelled = False
        self._jobs.append(job)

    def cancel(self) -> None:
        """The job that is to run next fails instead."""
        self._is_cancelled = True

    is_waiting = False

    def process(self, deadline: float | None = None) -> None:
        """Run the oldest job, if there is one; past the deadline it is put back."""
        if not self._jobs:
            return
        job = self._jobs.popleft()
        if self._is_cancelled:
            job.failed(Cancelled(job.title))
            return

        def watch(done: int, total: int) -> None:
            if deadline is not None and time.monotonic() > deadline:
                raise PutBack

        try:
            answer = job.work(watch)
        except PutBack:
            self._jobs.appendleft(job)
        except Exception as error:
            drop_locals(error)
            job.failed(error)
        else:
            job.done(answer)

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call at once: nobody drags a slider here."""
        call()

    def close(self, last: Callable[[], None]) -> None:
        """Forget what is queued."""
        self._jobs.clear()
        last()
