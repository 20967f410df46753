"""One worker thread beside the GUI: jobs in order, answers on the GUI thread, progress, cancel."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue

from napari.utils import progress as napari_progress
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication

from ..core.dispatch import Cancelled, Job
from ..inference.memory import drop_locals

_PROGRESS_INTERVAL_S = 0.05
_BAR_DELAY_MS = 300


class _Bridge(QObject):
    """Carries news from the worker to the GUI thread."""

    started = Signal(object)
    advanced = Signal(object, int, int)
    finished = Signal(object, object, object)


class QtDispatcher:
    """`core.dispatch.Dispatcher` for a running Qt application."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stop = threading.Event()
        self._closed = False
        self._job: Job | None = None
        self._done_of = (0, 0)
        self._bar: napari_progress | None = None
        self._bar_delay = QTimer()
        self._bar_delay.setSingleShot(True)
        self._bar_delay.timeout.connect(self._show_bar)
        self._timers: dict[Callable[[], None], QTimer] = {}
        self._bridge = _Bridge()
        self._bridge.started.connect(self._on_started)
        self._bridge.advanced.connect(self._on_advanced)
        self._bridge.finished.connect(self._on_finished)
        self._thread = threading.Thread(
            target=_work,
            args=(self._jobs, self._stop, self._bridge),
            name="segment-anything",
            daemon=True,
        )
        self._thread.start()
        self._at_exit = weakref.WeakMethod(self._quit)
        atexit.register(_call, self._at_exit)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._stop.clear()
        self._jobs.put(job)

    def cancel(self) -> None:
        """Stop the running job at its next report of progress."""
        self._stop.set()

    def process(self, deadline: float | None = None) -> None:
        """Let Qt events run for a moment."""
        QApplication.processEvents()
        time.sleep(0.002)

    def later(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call after a pause; calling again restarts the pause."""
        timer = self._timers.get(call)
        if timer is None:
            timer = self._timers[call] = QTimer()
            timer.setSingleShot(True)
            timer.timeout.connect(call)
        timer.start(delay_ms)

    @property
    def is_waiting(self) -> bool:
        """True while a `later` call is still to come."""
        return any(timer.isActive() for timer in self._timers.values())

    def _quit(self) -> None:
        """Leave no thread inside torch while the interpreter goes down."""
        self.close()
        self.join(timeout=2.0)

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Stop the thread once its job ends, and ``last`` after it; deliver nothing more."""
        self._closed = True
        self._job = None
        self._stop.set()
        if last is not None:
            self._jobs.put(Job("", lambda _progress: last(), _ignore, _ignore))
        self._jobs.put(None)
        for timer in self._timers.values():
            timer.stop()
        self._timers.clear()
        self._end_bar()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end after `close`; True if it did."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _on_started(self, job: Job) -> None:
        if not self._closed:
            self._end_bar()
            self._job, self._done_of = job, (0, 0)
            self._bar_delay.start(_BAR_DELAY_MS)

    def _show_bar(self) -> None:
        """Make the running job's bar; what a click takes is too short for one."""
        job = self._job
        if job is None or self._closed:
            return
        bar = napari_progress(total=0, desc=job.title)
        # Making a bar lets Qt events run: the job may have ended meanwhile.
        if self._job is job and self._bar is None and not self._closed:
            self._bar = bar
            self._on_advanced(job, *self._done_of)
        else:
            bar.close()

    def _on_advanced(self, job: Job, done: int, total: int) -> None:
        if job is self._job:
            self._done_of = (done, total)
        if self._bar is not None and not self._closed:
            if self._bar.total != total:
                self._bar.total = total
                self._bar.events.total(value=total)
            self._bar.update(done - self._bar.n)

    def _on_finished(self, job: Job, answer: object, error: Exception | None) -> None:
        self._job = None
        self._end_bar()
        if self._closed:
            return
        if error is None:
            job.done(answer)
        else:
            job.failed(error)

    def _end_bar(self) -> None:
        self._bar_delay.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


def _ignore(_outcome: object) -> None:
    """Nobody waits for it."""


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Call a method whose object may be gone."""
    bound = method()
    if bound is not None:
        bound()


def _work(jobs: SimpleQueue[Job | None], stop: threading.Event, bridge: _Bridge) -> None:
    """The worker thread; holds nothing of a job once it has been reported."""
    while (job := jobs.get()) is not None:
        try:
            bridge.started.emit(job)
            answer, failure = _outcome(job, stop, bridge)
            bridge.finished.emit(job, answer, failure)
        except RuntimeError:  # Qt has taken the bridge down: the application is ending
            return
        answer = failure = job = None


def _outcome(job: Job, stop: threading.Event, bridge: _Bridge) -> tuple[object, Exception | None]:
    """A job's answer, or what it raised."""
    try:
        return job.work(_reporter(job, stop, bridge)), None
    except Exception as error:
        drop_locals(error)
        return None, error


def _reporter(job: Job, stop: threading.Event, bridge: _Bridge) -> Callable[[int, int], None]:
    """Progress callback that cancels when asked to, and tells the GUI not too often."""
    told = 0.0

    def report(done: int, total: int) -> None:
        nonlocal told
        if stop.is_set():
            raise Cancelled(job.title)
        now = time.monotonic()
        if now - told > _PROGRESS_INTERVAL_S or done >= total:
            told = now
            bridge.advanced.emit(job, min(done, 2**31 - 1), min(total, 2**31 - 1))

    return report
