"""What is known of an annotated image: its labels, where each came from, and what it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

Labels = NDArray[np.int32]
"""(H, W), 0 background."""

Number = TypeVar("Number", int, float)


class Stage(StrEnum):
    """The paper's three stages of a data engine (section 4)."""

    ASSISTED = "assisted"
    SEMI_AUTOMATIC = "semi-automatic"
    AUTOMATIC = "automatic"


class Origin(StrEnum):
    """Where an object's mask came from."""

    CLICKED = "clicked"
    PAINTED = "painted"
    PREFILLED = "pre-filled"
    CORRECTED = "corrected"
    BY_HAND = "by hand"
    AUTOMATIC = "automatic"


@dataclass(frozen=True)
class Effort:
    """A person's work; None is what nobody counted, such as the clicks behind a label file.

    ``clicks`` draw or reject, ``rejections`` says how many of them reject. ``glances`` are looks
    at masks that cost no click, ``paintings`` objects finished with the brush.
    """

    clicks: int | None = 0
    glances: int | None = 0
    rejections: int | None = 0
    paintings: int | None = 0
    seconds: float | None = 0.0


def total_effort(parts: Iterable[Effort]) -> Effort:
    """The sum; a part of which something is not known makes that unknown."""
    total = Effort()
    for part in parts:
        total = Effort(
            _added(total.clicks, part.clicks),
            _added(total.glances, part.glances),
            _added(total.rejections, part.rejections),
            _added(total.paintings, part.paintings),
            _added(total.seconds, part.seconds),
        )
    return total


def _added(a: Number | None, b: Number | None) -> Number | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True)
class ObjectRecord:
    """One object: its label, its origin, and the prompt and scores of the mask that was kept.

    ``points_xy`` are image pixels, x then y; ``point_labels`` 1 foreground, 0 background: a
    person's clicks, or the point that the mask generator asked. An object that a person drew
    without prompts has none, and no scores. ``effort`` is the person's work on this object.
    """

    label: int
    origin: Origin
    points_xy: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    predicted_iou: float | None = None
    stability: float | None = None
    effort: Effort = Effort()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ObjectRecord:
        """Out of what `dataclasses.asdict` gave."""
        return cls(
            int(values["label"]),
            Origin(values["origin"]),
            tuple((float(x), float(y)) for x, y in values["points_xy"]),
            tuple(int(label) for label in values["point_labels"]),
            values["predicted_iou"],
            values["stability"],
            Effort(**values["effort"]),
        )


@dataclass(frozen=True)
class Annotation:
    """The labels of one image and their objects, in the order in which they came.

    ``effort`` is all of the person's work, that on masks which were not kept, too; ``proposed``
    the number of masks that were pre-filled.
    """

    labels: Labels
    objects: tuple[ObjectRecord, ...]
    effort: Effort = Effort()
    proposed: int = 0


@dataclass(frozen=True)
class Weights:
    """Which model: its name, and the digest of its weights."""

    model: str
    digest: str


@dataclass(frozen=True)
class Maker:
    """Who annotated an image, and with which model.

    ``is_simulated``: clicks and seconds are a simulated person's. ``machine_seconds`` is what the
    image took on the machine, encoding and decoding, without the person's own time.
    """

    annotator: str
    is_simulated: bool
    weights: Weights
    machine_seconds: float = 0.0


@dataclass(frozen=True)
class Provenance:
    """How an image's labels were made; lies beside them as JSON.

    ``round`` counts from 1. ``labels_digest`` is the hash of the labels' pixels; the other fields
    are those of `Annotation`.
    """

    image: str
    stage: Stage
    round: int
    maker: Maker
    objects: tuple[ObjectRecord, ...]
    effort: Effort
    proposed: int
    labels_digest: str

    @classmethod
    def of(
        cls, image: str, stage: Stage, number: int, annotation: Annotation, maker: Maker
    ) -> Provenance:
        """That of an annotation made in round ``number``."""
        return cls(
            image,
            stage,
            number,
            maker,
            annotation.objects,
            annotation.effort,
            annotation.proposed,
            labels_digest(annotation.labels),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Provenance:
        """Out of what `dataclasses.asdict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: something else.
        """
        return cls(
            str(values["image"]),
            Stage(values["stage"]),
            int(values["round"]),
            _maker(values["maker"]),
            tuple(ObjectRecord.from_json(o) for o in values["objects"]),
            Effort(**values["effort"]),
            int(values["proposed"]),
            str(values["labels_digest"]),
        )


def _maker(values: Mapping[str, Any]) -> Maker:
    return Maker(**{**values, "weights": Weights(**values["weights"])})


def labels_digest(labels: Labels) -> str:
    """Size and hash of (H, W) labels."""
    content = xxhash.xxh3_128(np.ascontiguousarray(labels, np.int32).data).hexdigest()
    return f"{labels.shape[0]}x{labels.shape[1]} {content}"
