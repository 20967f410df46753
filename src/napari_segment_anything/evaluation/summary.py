"""Scores of images, pooled into what a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .calibration import Calibration, calibration
from .evaluate import ImageScores
from .instances import InstanceScores, pooled
from .interactive import ObjectScore, clicks_needed

NOC_TARGETS = (0.85, 0.9)


@dataclass(frozen=True)
class PromptScores:
    """Mean IoUs over all ``objects``, each prompted alone.

    ``click_iou``: after the first, second ... click; ``box_iou``: after the box, then after each
    correction. ``noc``: target IoU -> mean number of clicks that it takes (NoC; Sofiiuk et al.
    2022), an object that never reaches it counting as many as there were; ``reached``: target ->
    the part of the objects that does. ``calibration`` is the first click's.
    """

    objects: int
    click_iou: tuple[float, ...]
    box_iou: tuple[float, ...]
    noc: dict[float, float]
    reached: dict[float, float]
    calibration: Calibration


@dataclass(frozen=True)
class Evaluation:
    """All scores of ``images`` images; None for what was not asked, and where no object was.

    Seconds are means over images.
    """

    images: int
    prompts: PromptScores | None
    whole: InstanceScores | None
    encode_seconds: float
    auto_seconds: float


def summarised(images: Sequence[ImageScores]) -> Evaluation:
    """Images, at least one, pooled: every object counts the same, wherever it lies."""
    objects = [score for image in images for score in image.objects]
    overlaps = [image.overlaps for image in images if image.overlaps is not None]
    return Evaluation(
        len(images),
        pooled_prompts(objects) if objects else None,
        pooled(overlaps) if overlaps else None,
        float(np.mean([image.encode_seconds for image in images])),
        float(np.mean([image.auto_seconds for image in images])),
    )


def pooled_prompts(objects: Sequence[ObjectScore]) -> PromptScores:
    """Means over objects, at least one."""
    needed = {t: [clicks_needed(score.clicks, t) for score in objects] for t in NOC_TARGETS}
    most = len(objects[0].clicks)
    return PromptScores(
        len(objects),
        _means([score.clicks for score in objects]),
        _means([score.box for score in objects]),
        {t: float(np.mean([most if n is None else n for n in ns])) for t, ns in needed.items()},
        {t: float(np.mean([n is not None for n in ns])) for t, ns in needed.items()},
        calibration([score.rating for score in objects], [score.clicks[0] for score in objects]),
    )


def _means(curves: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(float(mean) for mean in np.mean(curves, axis=0))
