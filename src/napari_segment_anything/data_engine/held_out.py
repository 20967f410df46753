"""How well a model does on labelled images that no training sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..evaluation.evaluate import Plan, score_objects
from ..evaluation.instances import pooled
from ..evaluation.interactive import ObjectScore, clicks_needed
from ..evaluation.matching import Overlaps, overlaps_of
from ..io.labelled import LabelledImage
from ..structures import Embedding, MaskPrediction, Prompt
from .stages import Picture, Tools, confident_masks


def held_out_scores(
    tools: Tools,
    images: Sequence[LabelledImage],
    target_iou: float,
    most_clicks: int,
    progress: Callable[[int], None],
) -> dict[str, float]:
    """Scores of a model by name, over all objects of ``images`` pooled; {} if there are none.

    ``click_iou``: mean IoU after one centre click, the candidate with the highest predicted IoU.
    ``clicks``: mean number of clicks until ``target_iou``, ``most_clicks`` where it is not
    reached; ``reached``: the part of the objects for which it is. ``ap50``, ``mean_ap``: of the
    confident masks of whole images, see `InstanceScores`; ``precision``: the part of the confident
    masks that match an object with ``target_iou`` or more.

    ``progress`` gets the number of images done; an exception from it cancels.
    """
    objects: list[ObjectScore] = []
    overlaps: list[Overlaps] = []
    plan = Plan(most_clicks, box_rounds=0, auto=False)
    for done, image in enumerate(images):

        def tell(*_: int, done: int = done) -> None:
            progress(done)

        embedding = tools.encode(Picture(image.name, image.pixels), tell)
        objects += score_objects(_asker(tools, embedding), image.labels, plan, tell)
        found = confident_masks(tools, embedding, tell).labels
        overlaps.append(overlaps_of(found, image.labels))
    if not objects:
        return {}
    needed = [clicks_needed(score.clicks, target_iou) for score in objects]
    whole = pooled(overlaps)
    good = sum(int((o.iou >= target_iou).sum()) for o in overlaps)
    return {
        "objects": float(len(objects)),
        "click_iou": float(np.mean([score.clicks[0] for score in objects])),
        "clicks": float(np.mean([most_clicks if n is None else n for n in needed])),
        "reached": float(np.mean([n is not None for n in needed])),
        "ap50": whole.average_precision[0.5],
        "mean_ap": whole.mean_ap,
        "precision": good / whole.found if whole.found else 0.0,
    }


def _asker(tools: Tools, embedding: Embedding) -> Callable[[Prompt], MaskPrediction]:
    def ask(prompt: Prompt) -> MaskPrediction:
        points, labels = prompt.points_xy, prompt.point_labels
        return tools.functions.predict(tools.model, embedding, points, labels, None, prompt.mask)

    return ask
