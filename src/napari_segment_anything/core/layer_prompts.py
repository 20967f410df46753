"""Points, shapes and labels, as layers hold them -> one prompt in pixels of the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from ..structures import Prompt

SCRIBBLE_STEP_PX = 12.0
MOST_SCRIBBLE_POINTS = 12


@dataclass(frozen=True)
class Shape:
    """A drawn shape in plane pixels: ``kind`` as napari names it, ``vertices_xy`` (N, 2).

    A pixel's centre has whole coordinates.
    """

    kind: str
    vertices_xy: NDArray[np.float64]


@dataclass(frozen=True)
class Snapshot:
    """Everything that the layers say of the current object, in plane pixels (x, y)."""

    points_xy: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    point_labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    shapes: tuple[Shape, ...] = ()
    mask: NDArray[np.bool_] | None = None


def prompt_of(snapshot: Snapshot, size_hw: tuple[int, int]) -> Prompt:
    """One object's prompt for a plane of ``size_hw`` pixels.

    Rectangles join into one box; ellipses and polygons are their box and their area as a mask;
    lines and paths are points along them, foreground. Points beyond the plane are left out.
    """
    points = [snapshot.points_xy]
    labels = [snapshot.point_labels]
    boxes, masks = [], []
    for shape in snapshot.shapes:
        if shape.kind in ("path", "line"):
            along = scribble_points(shape.vertices_xy)
            points.append(along)
            labels.append(np.ones(len(along), np.int64))
            continue
        box = box_of(shape.vertices_xy, size_hw)
        if box is None:
            continue
        boxes.append(box)
        if shape.kind in ("ellipse", "polygon"):
            outline = shape.vertices_xy if shape.kind == "polygon" else ellipse(shape.vertices_xy)
            masks.append(polygon2mask(size_hw, outline[:, ::-1]))
    if snapshot.mask is not None:
        masks.append(snapshot.mask)
    every, kinds = np.concatenate(points), np.concatenate(labels)
    h, w = size_hw
    inside = (every >= -0.5).all(axis=1) & (every[:, 0] < w - 0.5) & (every[:, 1] < h - 0.5)
    mask = np.logical_or.reduce(masks) if masks else None
    return Prompt(
        every[inside] if inside.any() else None,
        kinds[inside] if inside.any() else None,
        _joined(boxes),
        mask if mask is not None and mask.any() else None,
    )


def box_of(
    vertices_xy: NDArray[np.float64], size_hw: tuple[int, int]
) -> NDArray[np.float64] | None:
    """Vertices, pixel centres whole -> box of whole-pixel edges, cut to the plane; None if empty.

    A drawn edge at 3.5 lies between pixels 3 and 4: that is 4 where a box counts edges.
    """
    h, w = size_hw
    low = np.clip(vertices_xy.min(axis=0) + 0.5, 0, (w, h))
    high = np.clip(vertices_xy.max(axis=0) + 0.5, 0, (w, h))
    return np.concatenate([low, high]) if (high - low >= 1).all() else None


def _joined(boxes: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    if not boxes:
        return None
    every = np.stack(boxes)
    return np.concatenate([every[:, :2].min(axis=0), every[:, 2:].max(axis=0)])


def ellipse(corners_xy: NDArray[np.float64], steps: int = 64) -> NDArray[np.float64]:
    """Four corners of the box around an ellipse, which may be turned -> points on its outline."""
    middle = corners_xy.mean(axis=0)
    half_a = (corners_xy[1] - corners_xy[0]) / 2
    half_b = (corners_xy[3] - corners_xy[0]) / 2
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)[:, None]
    outline: NDArray[np.float64] = middle + np.cos(angle) * half_a + np.sin(angle) * half_b
    return outline


def scribble_points(vertices_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points spread evenly along a path, a dozen pixels apart, at most a dozen."""
    from skimage.measure import approximate_polygon  # brings scipy.signal, which takes a second

    path = approximate_polygon(np.asarray(vertices_xy, float), 0.5)
    lengths = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0], np.cumsum(lengths)])
    if along[-1] == 0:
        return np.asarray(path[:1], np.float64)
    count = int(np.clip(round(along[-1] / SCRIBBLE_STEP_PX), 1, MOST_SCRIBBLE_POINTS))
    at = (np.arange(count) + 0.5) / count * along[-1]
    return np.stack([np.interp(at, along, path[:, i]) for i in (0, 1)], axis=1)
