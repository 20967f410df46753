"""How good a model in training is: one click and one box on objects of images it does not learn.

As in use: the whole image is encoded, and each object is prompted alone, by a click at its middle
and by its tight box; the mask that the model rates best is compared at the image's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import find_boundaries
from torch.nn import functional as F

from ..evaluation.interactive import centre_xy
from ..evaluation.matching import iou_in_place
from ..inference.decoding import DecodedMasks, ModelPrompts, decode, decode_points
from ..inference.model import Model
from ..inference.predictor import encode
from ..structures import Embedding
from .settings import FitSettings
from .synthesis import Scene

T = TypeVar("T")
AT_ONCE = 16
"""Prompts that are decoded together."""

KEPT_BYTES = 1 << 30
"""Embeddings that are kept from one validation to the next."""


@dataclass(frozen=True)
class Score:
    """Mean IoU of the objects after a click and after a box."""

    click: float
    box: float

    @property
    def mean(self) -> float:
        """By which checkpoints are compared."""
        return (self.click + self.box) / 2


@dataclass(frozen=True)
class Questions:
    """Objects of ``scene`` to be asked for.

    ``ids`` (n,) their labels, ``areas`` (n,) pixels, ``points_xy`` (n, 2) and ``boxes_xyxy``
    (n, 4) in image pixels.
    """

    scene: Scene
    ids: NDArray[np.int64]
    areas: NDArray[np.int64]
    points_xy: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float64]


def questions_of(scene: Scene, most: int) -> Questions:
    """At most so many objects of a scene, spread over its labels."""
    places = ndimage.find_objects(scene.labels)
    present = [i for i, place in enumerate(places, start=1) if place is not None]
    chosen = spread(present, most)
    areas, points, boxes = [], [], []
    for label in chosen:
        rows, cols = places[label - 1]
        mask = scene.labels[rows, cols] == label
        x, y = centre_xy(mask)
        areas.append(int(mask.sum()))
        points.append((x + cols.start, y + rows.start))
        boxes.append((cols.start, rows.start, cols.stop, rows.stop))
    return Questions(
        scene,
        np.array(chosen, np.int64),
        np.array(areas, np.int64),
        np.array(points, np.float64).reshape(-1, 2),
        np.array(boxes, np.float64).reshape(-1, 4),
    )


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly from the first on."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


@dataclass(frozen=True)
class Answers:
    """IoU (n,) of each object of ``questions`` after a click and after a box.

    ``found`` (H, W) int32 shows the masks of the clicks, numbered as the objects.
    """

    click: NDArray[np.float64]
    box: NDArray[np.float64]
    found: NDArray[np.int32]


class Validator:
    """Scores models on the objects of ``scenes``; with ``keeps`` an embedding is made once only.

    ``autocast()`` is the context in which images are encoded.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        settings: FitSettings,
        keeps: bool,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        asked = (questions_of(s, settings.objects_per_val_image) for s in scenes)
        self.questions = spread([q for q in asked if len(q.ids)], settings.val_images)
        self._keeps, self._autocast = keeps, autocast
        self._kept: dict[int, Embedding] = {}

    def score(self, model: Model) -> tuple[Score, NDArray[np.uint8]]:
        """The score, and a picture of what was found in the first image."""
        answers = [self._answers(model, i) for i in range(len(self.questions))]
        click = np.concatenate([a.click for a in answers])
        box = np.concatenate([a.box for a in answers])
        picture = compared(self.questions[0], answers[0].found)
        return Score(float(click.mean()), float(box.mean())), picture

    def _answers(self, model: Model, number: int) -> Answers:
        asked = self.questions[number]
        embedding = self._embedding(model, number)
        frame, grid = embedding.frame, model.grid_for(embedding.frame)
        click, box = np.zeros(len(asked.ids)), np.zeros(len(asked.ids))
        found = np.zeros(asked.scene.labels.shape, np.int32)
        for start in range(0, len(asked.ids), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            ids = asked.ids[part]
            clicked = decode_points(model, embedding, asked.points_xy[part])
            click[part] = _ious(clicked, asked, ids, found)
            corners = frame.boxes_to_model(asked.boxes_xyxy[part])
            none = np.zeros((len(ids), 0, 2)), np.zeros((len(ids), 0), np.int64)
            sides = (corners[:, 2:] - corners[:, :2]).max(1)
            windows = [
                grid.around(c, grid.level_for(float(side)))
                for c, side in zip(corners, sides, strict=True)
            ]
            boxed = decode(model, embedding, ModelPrompts(*none, corners), windows, False)
            box[part] = _ious(boxed, asked, ids)
        return Answers(click, box, found)

    def _embedding(self, model: Model, number: int) -> Embedding:
        if number in self._kept:
            return self._kept[number]
        with self._autocast():
            embedding = encode(model, self.questions[number].scene.image)
        tile = embedding.tiles[0]
        exact = replace(embedding, tiles=(replace(tile, features=tile.features.float()),))
        held = sum(e.nbytes for e in self._kept.values())
        if self._keeps and held + exact.nbytes <= KEPT_BYTES:
            self._kept[number] = exact
        return exact


def _ious(
    decoded: DecodedMasks,
    asked: Questions,
    ids: NDArray[np.int64],
    found: NDArray[np.int32] | None = None,
) -> NDArray[np.float64]:
    """IoU (k,) of the best rated mask of each of the objects ``ids``; painted into ``found``."""
    best = F.one_hot(decoded.iou.argmax(1), decoded.iou.shape[1]).bool()
    ious = np.zeros(len(ids))
    for stack in decoded.select(best).stacks():
        masks = (stack.logits > 0).cpu().numpy()
        for mask, origin_yx, i in zip(masks, stack.origins_yx, stack.index, strict=True):
            which = int(decoded.asked[i])
            area = asked.areas[asked.ids == ids[which]][0]
            ious[which] = iou_in_place(mask, origin_yx, asked.scene.labels, ids[which], area)
            if found is not None:
                y, x = origin_yx
                found[y : y + mask.shape[0], x : x + mask.shape[1]][mask] = ids[which]
    return ious


def compared(asked: Questions, found: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the image with outlines of its objects in yellow, of ``found`` in blue."""
    picture = asked.scene.image.copy()
    true = np.where(np.isin(asked.scene.labels, asked.ids), asked.scene.labels, 0)
    for labels, colour in ((true, (255, 210, 0)), (found, (0, 140, 255))):
        picture[find_boundaries(labels, mode="inner")] = colour
    return picture
