"""What the layers say: the displayed plane of the image, and the prompts in it."""

from __future__ import annotations

import numpy as np
from napari.components import Dims
from napari.layers import Image, Points, Shapes
from numpy.typing import NDArray

from ..config import ModelChoice
from ..core.engine import View
from ..core.layer_prompts import Shape, Snapshot
from ..geometry.planes import PlaneRef, displayed_plane
from .layers import FOREGROUND, image_data, image_shape


def plane_shown(image: Image, dims: Dims) -> PlaneRef | None:
    """The image's plane in a 2-D view; None in 3-D, or where the image is not."""
    if dims.ndisplay != 2:
        return None
    at = np.asarray(image.world_to_data(dims.point))
    return displayed_plane(dims.order, at, image_shape(image))


def view_of(image: Image, plane: PlaneRef, model: ModelChoice, version: int) -> View:
    """What the encoder would see of ``plane``."""
    data = image_data(image)
    keeps_values = image.rgb and data.dtype == np.uint8
    limits = None if image.rgb else tuple(float(v) for v in image.contrast_limits)

    def read() -> NDArray[np.generic]:
        return plane.pixels(data)

    return View(
        model=model,
        plane=plane,
        size_hw=plane.size_hw(image_shape(image)),
        version=version,
        contrast_limits=None if keeps_values or limits is None else (limits[0], limits[1]),
        read=read,
        is_lazy=hasattr(data, "dask"),  # others may be written to in place, unseen by us
    )


def snapshot_of(
    points: Points,
    shapes: Shapes,
    plane: PlaneRef,
    mask: NDArray[np.bool_] | None,
    finished_shapes: int,
) -> Snapshot:
    """Prompts that lie in ``plane``; all layers share the image's frame.

    Of the shapes the first ``finished_shapes`` count. A point that nothing is said of is
    foreground.
    """
    at = np.asarray(points.data, float).reshape(-1, plane.ndim)
    here = plane.holds(at)
    signs = points.features.get(FOREGROUND, [True] * len(at))
    positive = np.asarray(signs, dtype=object)[here]
    finished = zip(shapes.shape_type[:finished_shapes], shapes.data[:finished_shapes], strict=True)
    drawn = [
        Shape(str(kind), plane.to_xy(vertices))
        for kind, vertices in finished
        if len(vertices) and plane.holds(np.asarray(vertices)).all()
    ]
    kinds = np.array([0 if value is False or value == 0 else 1 for value in positive], np.int64)
    return Snapshot(plane.to_xy(at[here]), kinds, tuple(drawn), mask)
