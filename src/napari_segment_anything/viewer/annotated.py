"""Annotated planes of labels layers, with the image layers that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import Dims, ViewerModel
from napari.layers import Image, Labels

from ..geometry.planes import PlaneRef
from ..improving.job import Job
from ..io.images import checked_labels
from ..io.labelled import LabelledImage
from .layers import image_data, image_shape, is_live_mask

MOST_PX = 64 * 1024 * 1024
"""At most so many pixels are copied out of a pair of layers: the window waits for it."""


@dataclass(frozen=True)
class LayerPair:
    """An image and labels on it: of the same shape, or of that of its last axes."""

    image: Image
    labels: Labels

    def __str__(self) -> str:
        return f"{self.labels.name} on {self.image.name}"


def pairs_in(viewer: ViewerModel) -> list[LayerPair]:
    """All pairs of the viewer's layers that fit, without the live masks of sessions."""
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    labels = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    kept = [one for one in labels if not one.multiscale and not is_live_mask(one)]
    return [LayerPair(image, one) for one in kept for image in images if _fits(image, one)]


def _fits(image: Image, labels: Labels) -> bool:
    shape = tuple(labels.data.shape)
    return len(shape) >= 2 and image_shape(image)[-len(shape) :] == shape


def annotated_planes(pair: LayerPair, dims: Dims) -> tuple[LabelledImage, ...]:
    """Every plane with labels, pixels as they are, in the order of the planes.

    Planes lie as they are displayed. On axes that only the image has, the displayed position
    counts. Of more than `MOST_PX` pixels, planes at even distances are taken.

    Raises:
        ValueError: the image is not where the viewer looks, or labels that are none.
    """
    image, labels = pair.image, pair.labels
    shape = image_shape(image)
    missing = len(shape) - labels.data.ndim
    own = [a - (len(dims.order) - len(shape)) for a in dims.order]
    shown = [a for a in own if a >= missing]
    row, col = shown[-2:]
    here = np.round(np.asarray(image.world_to_data(dims.point))).astype(int)[:missing]
    if any(not 0 <= at < n for at, n in zip(here, shape, strict=False)):
        raise ValueError(
            f"Expected {image.name!r} to be displayed, {labels.name!r} has fewer axes than it; "
            "move the sliders to where the labels belong."
        )
    planes = list(_with_labels(labels, row - missing, col - missing))
    height, width = planes[0].size_hw(labels.data.shape) if planes else (1, 1)
    most = max(1, MOST_PX // (height * width))
    if len(planes) > most:
        planes = [planes[i] for i in np.linspace(0, len(planes) - 1, most).round().astype(int)]
    data = image_data(image)
    found = []
    for plane in planes:
        at = PlaneRef(row, col, (*map(int, here), *plane.at))
        name = f"{image.name} {'-'.join(str(i) for i in _fixed(at))}".strip()
        numbers = checked_labels(plane.pixels(labels.data), labels.name)
        found.append(LabelledImage(name, at.pixels(data), numbers))
    return tuple(found)


def _fixed(plane: PlaneRef) -> list[int]:
    return [i for a, i in enumerate(plane.at) if a not in (plane.row, plane.col)]


def _with_labels(labels: Labels, row: int, col: int) -> Iterator[PlaneRef]:
    """The planes with any label, one after the other: lazy arrays are not read at once."""
    shape = labels.data.shape
    counts = tuple(1 if axis in (row, col) else n for axis, n in enumerate(shape))
    for at in np.ndindex(counts):
        plane = PlaneRef(row, col, at)
        if np.any(plane.pixels(labels.data)):
            yield plane


def job_for(
    model: str, sources: Sequence[LayerPair | Path], dims: Dims, settings: Mapping[str, Any]
) -> Job:
    """What a training process needs to learn from layers as they are now, and from folders.

    Raises:
        ValueError: no sources, or as `annotated_planes`.
    """
    if not sources:
        raise ValueError("Expected labels to learn from, none are ticked; tick some above.")
    pairs = [source for source in sources if isinstance(source, LayerPair)]
    folders = tuple(source for source in sources if isinstance(source, Path))
    return Job(model, tuple(annotated_planes(p, dims) for p in pairs), folders, settings)
