"""Are clicks still answered while a model is being improved?

    xvfb-run -a python benchmarks/training_beside.py

Clicks with `nano` in a real napari window: alone, while `nano` is trained by a process as the dock
starts it, and, for comparison, while the same training runs in a thread of this process. Prints
how long the answers take. A busy machine makes all three slower: compare them in one run.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import napari
import numpy as np
import torch
from qtpy.QtTest import QTest
from scipy import ndimage
from skimage import data

import napari_segment_anything as nsa
from napari_segment_anything.improving.job import Job
from napari_segment_anything.improving.process import TrainingProcess
from napari_segment_anything.improving.tools import PublicTools, Step, Stopped
from napari_segment_anything.improving.ways import DECODER, Machine, settings_for
from napari_segment_anything.io.labelled import LabelledImage
from napari_segment_anything.widget.attach import AnnotationSession

CLICKS = 25


def coins() -> LabelledImage:
    pixels = data.coins()[:256, :300]
    labels, _ = ndimage.label(ndimage.binary_opening(pixels > 120, iterations=4))
    return LabelledImage("coins", pixels, labels.astype(np.int32))


@contextmanager
def in_a_process(image: LabelledImage, settings: dict, folder: Path) -> Iterator[None]:
    run = TrainingProcess(Job("nano", ((image,),), (), settings), folder)
    while not any(report.get("step", 0) > 0 for report in run.reports()):
        QTest.qWait(100)
        if not run.is_running():
            raise RuntimeError(run.log())
    yield
    run.end()


@contextmanager
def in_a_thread(image: LabelledImage, settings: dict, folder: Path) -> Iterator[None]:
    began, stop = threading.Event(), threading.Event()

    def watch(step: Step) -> None:
        if step.step:
            began.set()
        if stop.is_set():
            raise Stopped

    def train() -> None:
        torch.set_num_threads(max(1, torch.get_num_threads() // 2))
        PublicTools().fit("nano", [image], [image], folder / "thread", settings, watch)

    thread = threading.Thread(target=train)
    thread.start()
    while not began.is_set():
        QTest.qWait(100)
    yield
    stop.set()
    thread.join()


def click(session: AnnotationSession, image: LabelledImage, what: str) -> None:
    rng = np.random.default_rng(0)
    places = rng.permutation(np.argwhere(image.labels))[:CLICKS]
    took = []
    for place in places:
        start = time.perf_counter()
        session.points.add(place)
        session.wait(120)
        took.append(1000 * (time.perf_counter() - start))
        session.cancel()
        QTest.qWait(50)
    median, most = np.median(took), np.max(took)
    print(f"{what:14s} click to mask: median {median:4.0f} ms, longest {most:4.0f} ms", flush=True)


def main() -> None:
    image = coins()
    viewer = napari.Viewer(show_welcome_screen=False)
    session = nsa.attach(viewer, viewer.add_image(image.pixels, name="coins"), device="cpu")
    session.wait()
    settings = settings_for(Machine(False), DECODER, 100_000, all_labelled=False, device="cpu")
    settings["validate_every"] = 100_000
    with tempfile.TemporaryDirectory() as folder:
        click(session, image, "alone")
        with in_a_process(image, settings, Path(folder)):
            click(session, image, "beside process")
        with in_a_thread(image, settings, Path(folder)):
            click(session, image, "beside thread")
    session.close()
    viewer.close()


if __name__ == "__main__":
    main()
