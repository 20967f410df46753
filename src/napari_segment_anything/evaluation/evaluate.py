"""One model on one labelled image: every object prompted alone, and the whole image segmented."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..automask.api import auto_mask, resolved_settings
from ..inference.model import Model
from ..inference.predictor import encode, predict
from ..io.labelled import LabelledImage
from ..structures import Embedding, MaskPrediction, Progress, Prompt
from .interactive import Ask, ObjectScore, score_object
from .matching import Overlaps, overlaps_of

PERCENT = 100


@dataclass(frozen=True)
class Plan:
    """What is asked of a model: clicks on each object (0: none), rounds that begin with a box
    (0: none), and whether the whole image is segmented."""

    clicks: int = 8
    box_rounds: int = 8
    auto: bool = True


@dataclass(frozen=True)
class ImageScores:
    """Answers for one image: its objects' IoUs, and what the whole segmentation shares with them.

    ``overlaps`` is None and ``auto_seconds`` 0 where the image was not segmented as a whole.
    """

    name: str
    objects: tuple[ObjectScore, ...]
    overlaps: Overlaps | None
    encode_seconds: float
    auto_seconds: float


def evaluate_image(
    model: Model, image: LabelledImage, plan: Plan, progress: Progress | None = None
) -> ImageScores:
    """All that ``plan`` asks, on one image; ``progress`` counts percent, an exception cancels.

    Raises:
        ValueError: the image's name, and why it cannot be encoded.
    """
    start = time.perf_counter()
    try:
        embedding = encode(model, image.pixels)
    except ValueError as error:
        raise ValueError(f"{image.name}: {error}") from error
    encode_seconds = time.perf_counter() - start
    halfway = PERCENT // 2 if plan.auto else PERCENT
    objects: tuple[ObjectScore, ...] = ()
    if plan.clicks:
        ask = asker(model, embedding)
        objects = score_objects(ask, image.labels, plan, _part(progress, 0, halfway))
    start = time.perf_counter()
    overlaps = None
    if plan.auto:
        crops = resolved_settings(model, {}).crop_n_layers
        source = image.pixels if crops else embedding
        tell = _part(progress, halfway if plan.clicks else 0, PERCENT)
        overlaps = overlaps_of(auto_mask(model, source, progress=tell)[0], image.labels)
    auto_seconds = time.perf_counter() - start if plan.auto else 0.0
    return ImageScores(image.name, objects, overlaps, encode_seconds, auto_seconds)


def asker(model: Model, embedding: Embedding) -> Ask:
    """How prompts on an encoded image are answered."""

    def ask(prompt: Prompt) -> MaskPrediction:
        return predict(
            model,
            embedding,
            prompt.points_xy,
            prompt.point_labels,
            prompt.box_xyxy,
            prompt.mask,
        )

    return ask


def score_objects(
    ask: Ask, labels: NDArray[np.integer], plan: Plan, progress: Progress
) -> tuple[ObjectScore, ...]:
    """Every object of ``labels`` (H, W), 0 background, in the order of its ids."""
    ids = np.unique(labels)
    ids = ids[ids > 0]
    scores = []
    for done, label in enumerate(ids):
        progress(done, len(ids))
        scores.append(score_object(ask, labels == label, plan.clicks, plan.box_rounds))
    return tuple(scores)


def _part(progress: Progress | None, low: int, high: int) -> Callable[[int, int], None]:
    """Progress of one part of the work, ``low`` to ``high`` percent of the whole."""

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(low + (high - low) * done // max(1, total), PERCENT)

    return tell
