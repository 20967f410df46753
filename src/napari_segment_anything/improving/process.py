"""The training process seen from beside it: started, listened to, stopped, ended for good.

A process of its own rather than a thread: a step of half a minute can be ended at once, all memory
goes back whatever happens, and running out of it does not take the annotation down. It is started
as a command, not forked or spawned by `multiprocessing`, which would run a script's or a notebook's
main module again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from .job import NEWS, Job

PROGRAM = ("-P", "-m", "napari_segment_anything.improving.child")
LOG = "log.txt"
STOP = b"stop\n"
PREFIX = ".run-"
END_WITHIN_S = 5.0
FORGOTTEN_AFTER_S = 24 * 3600
"""A training reports far more often; one that was killed together with napari never again."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WINDOWS_FLAGS = ("BELOW_NORMAL_PRIORITY_CLASS", "CREATE_NO_WINDOW")

Report = Mapping[str, Any]


class Run(Protocol):
    """A training that goes on somewhere else."""

    def is_running(self) -> bool:
        """Whether there may be more news."""

    def reports(self) -> Sequence[Report]:
        """Reports that have come since the last call."""

    def stop(self) -> None:
        """Ask it to end after its step and to keep the best so far; returns at once."""

    def end(self) -> None:
        """End it now; its files are gone afterwards."""

    def log(self) -> str:
        """What it has printed, for who looks for a reason; the last line is its exit status."""


class TrainingProcess:
    """`Run` in another process; it ends when this object, or this process, does."""

    def __init__(self, job: Job, root: Path, program: Sequence[str] = PROGRAM) -> None:
        """Start ``program`` on ``job``, in a folder of its own inside of ``root``.

        Raises:
            OSError: the folder or the process cannot be made.
        """
        root.mkdir(parents=True, exist_ok=True)
        _remove_forgotten(root)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        self._read_up_to = 0
        try:
            job.write(self.folder)
            with (self.folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, *program, str(self.folder)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    creationflags=sum(getattr(subprocess, name, 0) for name in _WINDOWS_FLAGS),
                    env=_environment(),
                )
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._finalizer = weakref.finalize(self, _end, self._process, self.folder)

    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    def reports(self) -> list[Report]:
        """Whole lines that have been added to the file of news since the last call."""
        path = self.folder / NEWS
        if not path.is_file():
            return []
        with path.open("rb") as stream:
            stream.seek(self._read_up_to)
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read_up_to += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def stop(self) -> None:
        """Ask the process to end after its step."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed and self.is_running():
            with suppress(OSError):  # it has just ended
                stdin.write(STOP)
                stdin.flush()

    def end(self) -> None:
        """Kill the process, wait for it, and remove its folder; twice is nothing."""
        self._finalizer()

    def log(self) -> str:
        """What the process has printed, and how it ended."""
        log = self.folder / LOG
        text = log.read_text("utf-8", "replace").rstrip() if log.is_file() else ""
        return f"{text}\nexit status {self._process.poll()}".lstrip()


def _remove_forgotten(root: Path) -> None:
    """Remove the folders of processes that could not do it themselves."""
    for folder in root.glob(f"{PREFIX}*"):
        news = folder / NEWS
        with suppress(OSError):  # another one has just removed it
            last = (news if news.is_file() else folder).stat().st_mtime
            if time.time() - last > FORGOTTEN_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Ours, with half of the threads: the other half is for who clicks."""
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    fewer = {name: os.environ.get(name, threads) for name in _THREAD_VARIABLES}
    return {**os.environ, **fewer, "PYTHONIOENCODING": "utf-8"}


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # it is stuck in the system: gone when that lets go
        process.wait(END_WITHIN_S)
    if process.stdin is not None:
        with suppress(OSError):  # what was still to be flushed has no reader
            process.stdin.close()
    shutil.rmtree(folder, ignore_errors=True)
