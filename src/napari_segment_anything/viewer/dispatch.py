"""Where requests run: in line, when somebody waits, or wherever a widget's dispatcher takes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ..core.requests import Answer, Cancelled, Report, Request


class Desk(Protocol):
    """The controller, as a dispatcher sees it. Only `work` may be called from another thread."""

    def take(self) -> Request | None:
        """The next request to run, if there is one and none is running."""
        ...

    def work(self, request: Request, report: Report) -> Answer:
        """Do the work."""
        ...

    def deliver(self, request: Request, result: Answer | Exception) -> None:
        """Hand in an answer or what was raised; `Cancelled` if the work stopped halfway."""
        ...

    def put_back(self, request: Request) -> None:
        """Hand in a request undone, to be run later."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far the running request is."""
        ...


class Dispatcher(Protocol):
    """Runs a desk's requests one after the other."""

    def attend(self, desk: Desk) -> None:
        """Work for this desk from now on."""
        ...

    def wake(self) -> None:
        """There may be something to take."""
        ...

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call ``call`` once after a pause; asked again meanwhile, the pause starts again."""
        ...

    @property
    def is_pending(self) -> bool:
        """True if a call is waiting for its pause to end."""
        ...

    def wait(self, timeout: float | None) -> None:
        """Return when the desk has nothing left to do; `TimeoutError` after ``timeout`` s."""
        ...

    def close(self) -> None:
        """Stop; nothing is delivered any more."""
        ...


class _OutOfTime(Exception):  # noqa: N818 - caught where it is raised
    """The deadline passed within a request."""


class InlineDispatcher:
    """Runs everything on the caller's thread, within `wait`; pauses end there at once."""

    def __init__(self) -> None:
        self._desk: Desk | None = None
        self._calls: dict[Callable[[], None], None] = {}

    def attend(self, desk: Desk) -> None:
        """Work for this desk from now on."""
        self._desk = desk

    def wake(self) -> None:
        """Nothing runs before `wait`."""

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Keep the call for `wait`; the same call is kept once."""
        self._calls[call] = None

    @property
    def is_pending(self) -> bool:
        """True if a call is kept."""
        return bool(self._calls)

    def wait(self, timeout: float | None) -> None:
        """Run what there is; a request that the deadline cuts off goes back into the queue."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._desk is not None:
            while self._calls:
                call = next(iter(self._calls))
                del self._calls[call]
                call()
            request = self._desk.take()
            if request is None:
                return
            self._run(self._desk, request, deadline)

    def close(self) -> None:
        """Forget the desk and its calls."""
        self._desk = None
        self._calls.clear()

    def _run(self, desk: Desk, request: Request, deadline: float | None) -> None:
        def report(what: str, done: int, total: int) -> None:
            if request.cancelled.is_set():
                raise Cancelled
            if deadline is not None and time.monotonic() > deadline:
                raise _OutOfTime
            desk.progress(what, done, total)

        try:
            report("", 0, 0)
            answer = desk.work(request, report)
        except _OutOfTime:
            desk.put_back(request)
            raise TimeoutError(
                "Expected all masks in time, some are still missing; wait again or longer."
            ) from None
        except BaseException as error:
            if isinstance(error, Exception):
                desk.deliver(request, error)
                return
            desk.put_back(request)  # Ctrl+C: the next wait goes on
            raise
        desk.deliver(request, answer)
