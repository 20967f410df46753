"""The labels of one image while they are drawn, and the model that answers the person's clicks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.labels import object_edit
from ..structures import MaskPrediction
from .records import Annotation, Effort, Labels, ObjectRecord, Origin, total_effort

Mask = NDArray[np.bool_]
Point = tuple[float, float]
"""x, y in image pixels."""

Answer = Callable[..., MaskPrediction]
"""``answer(points_xy, point_labels, mask=logits)``: `predict` on one encoded image."""


@dataclass(frozen=True)
class Proposals:
    """Masks that the model is sure of: ``labels`` (H, W), 1..n, and their n records."""

    labels: Labels
    objects: tuple[ObjectRecord, ...]


@dataclass(frozen=True)
class Review:
    """Which labels of the proposals a person keeps, and what looking through them took."""

    kept: frozenset[int]
    effort: Effort


@dataclass(frozen=True)
class Drawn:
    """One object that a person has drawn: ``mask`` (H, W), None if it was given up.

    ``points_xy``, ``point_labels`` and ``predicted_iou`` are those of a mask that the model drew.
    """

    mask: Mask | None
    points_xy: tuple[Point, ...] = ()
    point_labels: tuple[int, ...] = ()
    predicted_iou: float | None = None
    effort: Effort = field(default_factory=Effort)


class Canvas:
    """Labels that grow object by object; new ones go on background only."""

    def __init__(self, size_hw: tuple[int, int], answer: Answer) -> None:
        self._answer = answer
        self._objects: list[ObjectRecord] = []
        self._efforts: list[Effort] = []
        self._proposed = 0
        self.labels: Labels = np.zeros(size_hw, np.int32)

    @property
    def free(self) -> Mask:
        """(H, W) True where no object is yet."""
        return np.asarray(self.labels == 0)

    def ask(
        self,
        points_xy: Sequence[Point],
        point_labels: Sequence[int],
        logits: NDArray[np.float32] | None = None,
    ) -> MaskPrediction:
        """The model's candidates for an object, cut down to the pixels that are free.

        One click gets three candidates, several get one; ``logits`` (h, w) of the last answer
        are fed back (paper, A.2).
        """
        masks, iou, low = self._answer(points_xy, point_labels, mask=logits)
        return MaskPrediction(masks & self.free, iou, low)

    def begin_with(self, proposals: Proposals, review: Review) -> None:
        """Put what was kept of the proposals on the empty canvas, its labels counted anew."""
        self._proposed = len(proposals.objects)
        self._efforts.append(review.effort)
        for record in proposals.objects:
            if record.label in review.kept:
                self._write(proposals.labels == record.label, record)

    def add(self, drawn: Drawn) -> None:
        """Write an object; its effort counts even if nothing of it is left to write."""
        self._efforts.append(drawn.effort)
        if drawn.mask is not None:
            record = ObjectRecord(
                0,
                Origin.CLICKED if drawn.points_xy else Origin.PAINTED,
                drawn.points_xy,
                drawn.point_labels,
                drawn.predicted_iou,
                effort=drawn.effort,
            )
            self._write(drawn.mask, record)

    def annotation(self) -> Annotation:
        """What has been drawn so far."""
        effort = total_effort(self._efforts)
        return Annotation(self.labels.copy(), tuple(self._objects), effort, self._proposed)

    def _write(self, mask: Mask, record: ObjectRecord) -> None:
        label = len(self._objects) + 1
        edit = object_edit(self.labels, mask, label, overwrite=False)
        if edit.is_empty:
            return
        self.labels[edit.rows, edit.cols] = edit.values
        values = {**vars(record), "label": label}
        self._objects.append(ObjectRecord(**values))
