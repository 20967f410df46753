"""How well a model does on labelled images that no training sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..evaluation.instances import pooled
from ..evaluation.interactive import centre_xy
from ..evaluation.matching import Overlaps, iou_of, overlaps_of
from ..io.labelled import LabelledImage
from .annotator import SimulatedAnnotator, ids_by_size
from .canvas import Canvas
from .records import Labels
from .stages import Picture, Tools, confident_masks


@dataclass(frozen=True)
class ObjectScore:
    """IoU of one click's mask, clicks until the person is content or gives up, and which it was."""

    click_iou: float
    clicks: int
    reached: bool


def held_out_scores(
    tools: Tools,
    images: Sequence[LabelledImage],
    person: SimulatedAnnotator,
    progress: Callable[[int], None],
) -> dict[str, float]:
    """Scores of a model by name, over all objects of ``images`` pooled; {} if there are none.

    ``click_iou``: mean IoU after one centre click, the candidate with the highest predicted IoU.
    ``clicks``: mean number of clicks of ``person``, each object alone; ``reached``: the part of
    the objects that clicks brought to the target. ``ap50``, ``mean_ap``: of the confident masks of
    whole images, see `InstanceScores`; ``precision``: the part of them that the person would keep.

    ``progress`` gets the number of images done; an exception from it cancels.
    """
    objects: list[ObjectScore] = []
    overlaps: list[Overlaps] = []
    for done, image in enumerate(images):
        tick = partial(progress, done)
        picture = Picture(image.name, image.pixels)
        embedding = tools.encode(picture, tick)
        for score in _scored(tools.canvas(picture, embedding), image.labels, person):
            objects.append(score)
            tick()
        found = confident_masks(tools, embedding, tick).labels
        overlaps.append(overlaps_of(found, image.labels))
    if not objects:
        return {}
    whole = pooled(overlaps)
    good = sum(int((o.iou >= person.target_iou).sum()) for o in overlaps)
    return {
        "objects": float(len(objects)),
        "click_iou": float(np.mean([score.click_iou for score in objects])),
        "clicks": float(np.mean([score.clicks for score in objects])),
        "reached": float(np.mean([score.reached for score in objects])),
        "ap50": whole.average_precision[0.5],
        "mean_ap": whole.mean_ap,
        "precision": good / whole.found if whole.found else 0.0,
    }


def _scored(canvas: Canvas, labels: Labels, person: SimulatedAnnotator) -> Iterator[ObjectScore]:
    """Every object of ``labels`` (H, W) on the canvas, which stays empty: each is alone."""
    for label in ids_by_size(labels):
        true = labels == label
        answer = canvas.ask([centre_xy(true)], [1])
        first = iou_of(answer.masks[int(answer.iou.argmax())], true)
        drawn = person.draw(true, canvas)
        reached = False
        if drawn.mask is not None and not drawn.effort.paintings:
            reached = iou_of(drawn.mask, true) >= person.target_iou
        yield ObjectScore(first, drawn.effort.clicks or 0, reached)
