"""Who annotates: what an engine asks of a person, and a person who is simulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..evaluation.interactive import centre_xy, next_click
from ..evaluation.matching import iou_of
from ..structures import MaskPrediction
from .canvas import Canvas, Drawn, Mask, Review
from .records import Effort, Labels
from .settings import Pace

LEAST_KEPT_IOU = 0.5
"""A mask that shares less with its object is taken back: nobody would keep it."""

LEAST_FREE_PART = 0.5
"""An object of which more is taken by others is one that is there, as in the dock."""


@dataclass(frozen=True)
class _Attempt:
    """One candidate after so many ``clicks``: its mask, logits, predicted and true IoU."""

    mask: Mask
    logits: NDArray[np.float32]
    rating: float
    iou: float
    clicks: int


class Annotator(Protocol):
    """A person, or who stands for one. ``is_simulated``: clicks and seconds are made up."""

    @property
    def name(self) -> str:
        """Who it is, for the provenance."""

    @property
    def is_simulated(self) -> bool:
        """True if efforts are a model's, not counted."""

    def review(self, image: str, proposed: Labels) -> Review:
        """Look through pre-filled masks (H, W) and say which are kept."""

    def objects(self, image: str, canvas: Canvas) -> Iterator[Drawn]:
        """Draw what is missing on the canvas, one object after the other.

        Each is written before the next is asked for, so that ``canvas.labels`` holds it.
        """


class SimulatedAnnotator:
    """A person who knows the true labels, and clicks as the paper simulates it.

    Objects come large ones first, as people take what stands out first (section 4). Each gets a
    click at its centre. Of the three candidates it takes the first, in the order in which the
    model rates them, that reaches ``target_iou``; a look at the second and third is a glance each.
    Then come corrections at the middle of the largest error, the last answer's logits fed back,
    until the target is reached or ``most_clicks`` are spent. What is not good enough then is
    painted with the brush, as the paper's annotators do: its mask is the true one. Without
    ``paints`` the best mask on the way is kept instead, if half of it is right. A pre-filled mask
    is kept if it reaches the target.
    """

    name = "simulated"
    is_simulated = True

    def __init__(
        self,
        true_labels: Mapping[str, NDArray[np.integer[Any]]],
        target_iou: float = 0.85,
        most_clicks: int = 8,
        paints: bool = True,
        pace: Pace | None = None,
    ) -> None:
        """True labels (H, W) by image name.

        Raises:
            ValueError: a target at which a mask could match two objects, or no clicks.
        """
        if not 0.5 < target_iou <= 1:
            raise ValueError(f"Expected target_iou above 0.5 and up to 1, got {target_iou}.")
        if most_clicks < 1:
            raise ValueError(f"Expected at least one click, got most_clicks={most_clicks}.")
        self.true_labels = true_labels
        self.target_iou = target_iou
        self.most_clicks = most_clicks
        self.paints = paints
        self.pace = pace or Pace()

    def review(self, image: str, proposed: Labels) -> Review:
        """Keep every mask that reaches the target with a true object; reject the others."""
        true = self._true(image)
        labels = ids_by_size(proposed)
        kept = frozenset(i for i in labels if best_iou(proposed == i, true) >= self.target_iou)
        rejections = len(labels) - len(kept)
        seconds = self.pace.seconds(glances=len(labels), rejections=rejections)
        return Review(kept, Effort(rejections, len(labels), rejections, seconds=seconds))

    def objects(self, image: str, canvas: Canvas) -> Iterator[Drawn]:
        """Draw every true object that no label has yet."""
        true = self._true(image)
        for label in ids_by_size(true):
            mask = true == label
            if best_iou(mask, canvas.labels) >= self.target_iou:
                continue
            visible = mask & canvas.free
            if visible.sum() > LEAST_FREE_PART * mask.sum():
                yield self.draw(visible, canvas)

    def draw(self, true: Mask, canvas: Canvas) -> Drawn:
        """Click until ``true`` (H, W) is reached, or the clicks are spent."""
        points, point_labels = [centre_xy(true)], [1]
        shown, glances = self._chosen(_attempts(canvas.ask(points, point_labels), true, 1))
        best = shown
        while best.iou < self.target_iou and len(points) < self.most_clicks:
            click = next_click(shown.mask, true)
            if click is None:
                break
            points.append(click[0])
            point_labels.append(click[1])
            answer = canvas.ask(points, point_labels, shown.logits)
            shown = _attempts(answer, true, len(points))[0]
            best = max(best, shown, key=lambda attempt: attempt.iou)
        painted = self.paints and best.iou < self.target_iou
        seconds = self.pace.seconds(len(points), glances, paintings=int(painted))
        effort = Effort(len(points), glances, paintings=int(painted), seconds=seconds)
        if painted:
            return Drawn(true, effort=effort)
        if best.iou < LEAST_KEPT_IOU:
            return Drawn(None, effort=effort)
        used = slice(best.clicks)
        return Drawn(best.mask, tuple(points[used]), tuple(point_labels[used]), best.rating, effort)

    def _chosen(self, attempts: Sequence[_Attempt]) -> tuple[_Attempt, int]:
        """Of an answer's candidates the first that is good enough, else the first; and glances."""
        for glances, attempt in enumerate(attempts):
            if attempt.iou >= self.target_iou:
                return attempt, glances
        return attempts[0], len(attempts) - 1

    def _true(self, image: str) -> NDArray[np.integer[Any]]:
        if image not in self.true_labels:
            raise ValueError(f"Expected true labels of {image!r} to simulate a person, got none.")
        return self.true_labels[image]


def _attempts(answer: MaskPrediction, true: Mask, clicks: int) -> list[_Attempt]:
    """The candidates of an answer, in the order of their predicted IoU."""
    order = np.argsort(-answer.iou, kind="stable")
    return [
        _Attempt(
            answer.masks[i],
            answer.logits[i],
            float(answer.iou[i]),
            iou_of(answer.masks[i], true),
            clicks,
        )
        for i in order
    ]


def ids_by_size(labels: NDArray[np.integer[Any]]) -> list[int]:
    """Ids of the objects in (H, W) labels, large ones first."""
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    return [int(i) for i in ids[np.argsort(-areas, kind="stable")]]


def best_iou(mask: Mask, labels: NDArray[np.integer[Any]]) -> float:
    """IoU of a mask with the one of the (H, W) labels that it overlaps best."""
    ids = np.unique(labels[mask])
    return max((iou_of(mask, labels == i) for i in ids if i > 0), default=0.0)
