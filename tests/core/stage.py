"""What a session plays on in tests: a canvas that remembers, views and clicks."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segment_anything.config import ModelChoice
from napari_segment_anything.core.dispatch import InlineDispatcher
from napari_segment_anything.core.engine import AutoMaskRequest, View
from napari_segment_anything.core.labels import automask_edit, object_edit
from napari_segment_anything.core.objects import ObjectState
from napari_segment_anything.core.session import Session
from napari_segment_anything.geometry.planes import PlaneRef
from napari_segment_anything.structures import Prompt

SIZE = (40, 50)
PLANE = PlaneRef(0, 1, (0, 0))


class Canvas:
    """Labels as a plain array. ``refuses`` is raised by the next write."""

    def __init__(self) -> None:
        self.labels = np.zeros(SIZE, np.int32)
        self.live: np.ndarray | None = None
        self.errors: list[Exception] = []
        self.told: list[str] = []
        self.written: list[int] = []
        self.news = 0
        self.refuses: Exception | None = None

    def _may_refuse(self) -> None:
        if self.refuses is not None:
            error, self.refuses = self.refuses, None
            raise error

    def show_live(self, current: ObjectState) -> None:
        self.live = current.mask

    def write_object(self, done: ObjectState) -> None:
        if done.mask is None:
            return
        self._may_refuse()
        label = done.refines.label if done.refines else int(self.labels.max()) + 1
        replaces = done.refines.mask if done.refines else None
        edit = object_edit(
            self.labels, done.mask, label, overwrite=done.overwrite, replaces=replaces
        )
        self.labels[edit.rows, edit.cols] = edit.values
        self.written.append(done.object_id)

    def write_auto_masks(self, request: AutoMaskRequest, labels: Any, records: Any) -> None:
        self._may_refuse()
        first = int(self.labels.max()) + 1
        edit, _ = automask_edit(self.labels, labels, first, overwrite=request.overwrite)
        self.labels[edit.rows, edit.cols] = edit.values

    def status_changed(self) -> None:
        self.news += 1

    def report(self, error: Exception) -> None:
        self.errors.append(error)

    def tell(self, message: str) -> None:
        self.told.append(message)


def view(image=None, model="fake", limits=None, version=0, lazy=False, plane=PLANE) -> View:
    pixels = np.zeros(SIZE, np.uint8) if image is None else image
    choice = ModelChoice(model) if isinstance(model, str) else model
    return View(choice, plane, SIZE, version, limits, lambda: pixels, lazy)


def click(*points, labels=None) -> Prompt:
    return Prompt(np.array(points, float), np.array(labels or [1] * len(points)))


def drain(session: Session, dispatcher: InlineDispatcher) -> None:
    while session.is_busy:
        dispatcher.process()
