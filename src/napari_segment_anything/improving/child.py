"""The training process: ``python -m napari_segment_anything.improving.child FOLDER``.

Judges the model on held-out objects, trains, judges what has come of it, and reports into a file.
A line on its standard input stops the training, and the best so far is judged; the input's end
means that nobody listens any more, and ends the process at once.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..io.labelled import LabelledImage, object_count, read_labelled
from .job import Job, Reporter
from .split import split
from .tools import PublicTools, Step, Stopped, Tools

NICENESS = 5
SHUFFLE_SEED = 0
EVERY_S = 0.1
SAMPLE_PX = 256


def improve(folder: Path, tools: Tools, stop: threading.Event) -> None:
    """Do the job in ``folder``, and report; what goes wrong is reported, too.

    Reports, by ``kind``: ``split`` (train, held_out: numbers of objects), ``judging`` (done,
    total), ``step`` (step, steps, loss, score, sample: a picture's path), ``result``
    (best: a checkpoint's path or None, before, after: IoUs of the held-out objects), ``failed``
    (why).
    """
    reporter = Reporter(folder)
    try:
        _improve(folder, tools, stop, reporter)
    except Stopped:
        reporter.tell("result", best=None, before=[], after=[])
    except Exception as error:
        traceback.print_exc()
        reporter.tell("failed", why=_in_words(error))


def _improve(folder: Path, tools: Tools, stop: threading.Event, reporter: Reporter) -> None:
    job = Job.read(folder)
    parts = split([*job.sources, *map(read_folder, job.folders)])
    reporter.tell("split", train=_objects(parts.train), held_out=_objects(parts.held_out))
    device = str(job.settings.get("device", "auto"))

    def judged(model: str, stop: threading.Event | None) -> list[float]:
        def tell(done: int, total: int) -> None:
            reporter.tell("judging", done=done, total=total)
            if stop is not None and stop.is_set():
                raise Stopped

        return tools.scores(model, device, parts.held_out, tell)

    before = judged(job.model, stop)
    watch = _Watch(reporter, stop, parts.held_out[0].labels)
    best = tools.fit(
        job.model, parts.train, parts.held_out, folder / "fit", job.settings, watch.on_step
    )
    if best is None:
        raise Stopped
    after = judged(str(best), None)  # quick: what was asked to stop is the training
    reporter.tell("result", best=str(best), before=before, after=after)


class _Watch:
    """Reports steps, not too often, and stops.

    ``labels`` (H, W) are those of the image that pictures are of.
    """

    def __init__(
        self, reporter: Reporter, stop: threading.Event, labels: NDArray[np.int32]
    ) -> None:
        self._reporter = reporter
        self._stop = stop
        self._part = part_with_objects(labels, SAMPLE_PX)
        self._told = 0.0

    def on_step(self, step: Step) -> None:
        now = time.monotonic()
        if now - self._told > EVERY_S or step.score is not None or step.step == step.steps:
            self._told = now
            sample = None
            if step.sample is not None:
                sample = self._reporter.draw(step.sample[self._part], step.step)
            facts = {"step": step.step, "steps": step.steps, "loss": step.loss}
            self._reporter.tell("step", **facts, score=step.score, sample=sample)
        if self._stop.is_set():
            raise Stopped


def read_folder(folder: Path) -> list[LabelledImage]:
    """The labelled images of a folder, shuffled: those of a kind often have names alike.

    Where ``split.csv`` puts some aside, for tests for example, only those for training are taken.
    """
    images = read_labelled(folder, split="train" if (folder / "split.csv").is_file() else None)
    random.Random(SHUFFLE_SEED).shuffle(images)
    return images


def part_with_objects(labels: NDArray[np.int32], side_px: int) -> tuple[slice, slice]:
    """A square of ``side_px`` in the middle of the objects of ``labels`` (H, W): small enough for
    outlines to be seen in a dock."""
    middle = np.median(np.argwhere(labels), axis=0).astype(int)
    begins = [
        min(max(0, at - side_px // 2), max(0, size - side_px))
        for at, size in zip(middle, labels.shape, strict=True)
    ]
    return slice(begins[0], begins[0] + side_px), slice(begins[1], begins[1] + side_px)


def _objects(images: Sequence[LabelledImage]) -> int:
    return sum(object_count(image.labels) for image in images)


def _in_words(error: Exception) -> str:
    """What went wrong, for a person."""
    from ..inference.out_of_memory import is_out_of_memory

    if is_out_of_memory(error):
        return "There was not enough memory; train the decoder only, or a smaller model."
    text = str(error)
    is_meant_for_people = isinstance(error, ValueError | OSError | RuntimeError) and text
    return text if is_meant_for_people else f"{type(error).__name__}: {text}"


def _listen(folder: Path, stop: threading.Event) -> None:
    """Stop at a word; at the end of input, clean up and go."""
    while sys.stdin.buffer.readline():
        stop.set()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(folder: Path) -> None:
    """Run in a process of its own; see the module."""
    stop = threading.Event()
    threading.Thread(target=_listen, args=(folder, stop), daemon=True).start()
    if hasattr(os, "nice"):  # Windows' priority is set by who starts the process
        os.nice(NICENESS)
    improve(folder, PublicTools(), stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
