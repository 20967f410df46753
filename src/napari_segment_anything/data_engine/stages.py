"""The three stages as functions: a model, an image and an annotator make an annotation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.functions import Functions, PublicFunctions
from ..structures import Embedding
from .annotator import Annotator
from .canvas import Canvas, Proposals
from .records import Annotation, ObjectRecord, Origin, Stage
from .settings import EngineSettings

if TYPE_CHECKING:
    from ..inference.model import Model

Tick = Callable[[], None]
"""Called now and then; an exception from it cancels."""


@dataclass(frozen=True)
class Picture:
    """An image to annotate: ``pixels`` (H, W) or (H, W, C) as read, ``name`` in its project."""

    name: str
    pixels: NDArray[Any]


@dataclass(frozen=True)
class Tools:
    """What the stages work with: the model, what counts as confident, the functions that run it."""

    model: Model
    settings: EngineSettings = field(default_factory=EngineSettings)
    functions: Functions = field(default_factory=PublicFunctions)

    def encode(self, picture: Picture, tick: Tick) -> Embedding:
        """The picture, encoded."""
        return self.functions.encode(
            self.model,
            picture.pixels,
            contrast_limits=None,
            progress=lambda _done, _total: tick(),
        )

    def canvas(self, picture: Picture, embedding: Embedding) -> Canvas:
        """An empty canvas on which the model answers clicks."""
        answer = partial(_answer, self, embedding)
        return Canvas((picture.pixels.shape[0], picture.pixels.shape[1]), answer)


def no_tick() -> None:
    """Cancels nothing."""


def confident_masks(
    tools: Tools, embedding: Embedding, tick: Tick = no_tick, origin: Origin = Origin.PREFILLED
) -> Proposals:
    """What the model is sure of in an encoded image: prompts everywhere, filters, no duplicates.

    Each point of the grid, or of the encoder's own seeds, gives three masks (whole, part,
    subpart). Those with a high predicted IoU whose outline hardly moves with the threshold stay,
    and of duplicates the better one (paper, section 4 and B).
    """
    labels, records = tools.functions.auto_mask(
        tools.model,
        embedding,
        progress=lambda _done, _total: tick(),
        **tools.settings.confident,
    )
    objects = tuple(
        ObjectRecord(
            number,
            origin,
            tuple((float(x), float(y)) for x, y in record["point_coords"]),
            (1,) * len(record["point_coords"]),
            float(record["predicted_iou"]),
            float(record["stability_score"]),
        )
        for number, record in enumerate(records, start=1)
    )
    return Proposals(labels, objects)


def assisted(
    tools: Tools, picture: Picture, annotator: Annotator, tick: Tick = no_tick
) -> Annotation:
    """Assisted manual: the person clicks every object, the model draws it."""
    canvas = tools.canvas(picture, tools.encode(picture, tick))
    return _drawn(canvas, picture, annotator, tick)


def semi_automatic(
    tools: Tools, picture: Picture, annotator: Annotator, tick: Tick = no_tick
) -> Annotation:
    """Semi-automatic: confident masks are pre-filled, the person rejects and adds."""
    embedding = tools.encode(picture, tick)
    proposals = confident_masks(tools, embedding, tick)
    canvas = tools.canvas(picture, embedding)
    canvas.begin_with(proposals, annotator.review(picture.name, proposals.labels))
    return _drawn(canvas, picture, annotator, tick)


def automatic(tools: Tools, picture: Picture, tick: Tick = no_tick) -> Annotation:
    """Fully automatic: confident masks alone; nobody is asked."""
    embedding = tools.encode(picture, tick)
    found = confident_masks(tools, embedding, tick, Origin.AUTOMATIC)
    return Annotation(found.labels, found.objects, proposed=len(found.objects))


def annotate(
    stage: Stage,
    tools: Tools,
    picture: Picture,
    annotator: Annotator | None,
    tick: Tick = no_tick,
) -> Annotation:
    """One image in one stage.

    Raises:
        ValueError: no annotator for a stage that needs one.
    """
    if stage is Stage.AUTOMATIC:
        return automatic(tools, picture, tick)
    if annotator is None:
        raise ValueError(f"Expected an annotator for the {stage} stage, got none.")
    draw = assisted if stage is Stage.ASSISTED else semi_automatic
    return draw(tools, picture, annotator, tick)


def _drawn(canvas: Canvas, picture: Picture, annotator: Annotator, tick: Tick) -> Annotation:
    for drawn in annotator.objects(picture.name, canvas):
        canvas.add(drawn)
        tick()
    return canvas.annotation()


def _answer(tools: Tools, embedding: Embedding, points: Any, labels: Any, mask: Any = None) -> Any:
    points_xy, point_labels = np.asarray(points, float), np.asarray(labels)
    return tools.functions.predict(tools.model, embedding, points_xy, point_labels, None, mask)
