"""One improvement after the other: idle -> running -> done, stopped or failed.

Fed with a run's reports by `tick`; decides what becomes of the result. All on one thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from ..io.labelled import object_count
from ..zoo import own_models
from .job import Job
from .process import Report, Run, TrainingProcess
from .split import check_enough
from .verdict import Verdict, verdict

log = logging.getLogger(__name__)
Points = tuple[tuple[int, float], ...]


class Phase(Enum):
    """Where an improvement is."""

    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Course:
    """How far a training is and how it has gone.

    ``doing`` says what goes on, ``losses`` and ``scores`` are (step, value), ``sample`` is a
    picture's path, ``seconds_left`` of the training are guessed from its pace.
    """

    doing: str = "Starting"
    step: int = 0
    steps: int = 0
    losses: Points = ()
    scores: Points = ()
    sample: str | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What has come of an improvement.

    ``new`` is the path of a better model than ``old``, None if there is none.
    """

    old: str
    new: str | None
    verdict: Verdict | None


def start_process(job: Job) -> Run:
    """A training process, working beside our own models."""
    return TrainingProcess(job, own_models.own_folder())


class Improvement:
    """The state machine.

    ``message`` says how the last run has ended, ``outcome`` what has come of it.
    """

    def __init__(self, start_run: Callable[[Job], Run] = start_process) -> None:
        self.phase = Phase.IDLE
        self.course = Course()
        self.message = ""
        self.outcome: Outcome | None = None
        self._start_run = start_run
        self._run: Run | None = None
        self._model = self._subject = ""
        self._first_step: tuple[float, int] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is on its way, or on its way to an end."""
        return self._run is not None

    def start(self, job: Job, subject: str) -> None:
        """Begin; ``subject`` names what is learned from, for the new model's name.

        Raises:
            ValueError: too few objects, or a run is on its way.
            OSError: no process, or no room for its files.
        """
        if self.is_running:
            raise ValueError("Expected no training, one is running; stop it first.")
        if not job.folders:
            images = [image for source in job.sources for image in source]
            check_enough(sum(object_count(image.labels) for image in images))
        self._run = self._start_run(job)
        self._model, self._subject, self._first_step = job.model, subject, None
        self.phase, self.course, self.message, self.outcome = Phase.RUNNING, Course(), "", None

    def stop(self) -> None:
        """End after this step with the best so far; asked again, end at once with nothing."""
        if self._run is None:
            return
        if self.phase is Phase.STOPPING:
            self._end(Phase.STOPPED, "Stopped; nothing was kept.")
            return
        self._run.stop()
        self.phase = Phase.STOPPING

    def close(self) -> None:
        """End at once, without a word."""
        if self._run is not None:
            self._end(Phase.STOPPED, "")

    def tick(self) -> None:
        """Take in what the run has reported; called again and again while it is running."""
        if self._run is None:
            return
        was_running = self._run.is_running()  # asked first: what it reports last is not missed
        for report in self._run.reports():
            self._take(report)
            if self._run is None:
                return
        if not was_running:
            words = ", ".join(self._run.log().splitlines()[-2:])
            self._fail(
                f"The training ended without a result ({words}). If memory has run out, train the "
                "decoder only, or a smaller model."
            )

    def _take(self, report: Report) -> None:
        match report["kind"]:
            case "split":
                train, held_out = report["train"], report["held_out"]
                doing = f"{train} objects to learn from, {held_out} held out"
                self.course = replace(self.course, doing=doing)
            case "judging":
                done, total = report["done"], report["total"]
                doing = f"Judging on held-out objects, {100 * done // total} %"
                self.course = replace(self.course, doing=doing, seconds_left=None)
            case "step":
                self._on_step(report)
            case "result":
                self._on_result(report)
            case "failed":
                self._fail(report["why"])

    def _on_step(self, report: Report) -> None:
        step, steps, course = report["step"], report["steps"], self.course
        now = time.monotonic()
        began, first = self._first_step = self._first_step or (now, step)
        left = (now - began) / (step - first) * (steps - step) if step > first else None
        self.course = replace(
            course,
            doing="Training",
            step=step,
            steps=steps,
            losses=_with(course.losses, step, report["loss"]),
            scores=_with(course.scores, step, report["score"]),
            sample=report["sample"] or course.sample,
            seconds_left=left,
        )

    def _on_result(self, report: Report) -> None:
        phase = Phase.STOPPED if self.phase is Phase.STOPPING else Phase.DONE
        if report["best"] is None:
            self._end(phase, "Stopped before there was a model to keep.")
            return
        found = verdict(report["before"], report["after"])
        old = Path(self._model).stem
        if not found.is_better:
            self.outcome = Outcome(self._model, None, found)
            self._end(phase, f"No better, IoU {found}: {old} stays in use. More labels may help.")
            return
        try:
            new = own_models.keep(Path(report["best"]), self._model, self._subject)
        except OSError as error:
            self._fail(f"Better, but it could not be kept: {error}")
            return
        self.outcome = Outcome(self._model, str(new), found)
        self._end(phase, f"Better, IoU {found}.")

    def _fail(self, why: str) -> None:
        if self._run is not None:
            log.error("Improving %s failed: %s\n%s", self._model, why, self._run.log())
        self._end(Phase.FAILED, why)

    def _end(self, phase: Phase, message: str) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.end()
        self.phase, self.message = phase, message
        self.course = replace(self.course, sample=None, seconds_left=None)


def _with(points: Points, step: int, value: float | None) -> Points:
    return points if value is None else (*points, (step, value))
