"""The points and the shapes layer that hold the marks of the current object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.layer_prompts import PointMark, ShapeMark
from .view import positions_in, transform_of

if TYPE_CHECKING:
    from napari.layers import Image, Points, Shapes

POSITIVE, AXES = "positive", "axes"
COLOURS = {True: "#29d17c", False: "#ff4f58"}
POINT_SIZE_PX = (9, 13)


def make_points(image: Image) -> Points:
    """An empty points layer over ``image``: green is foreground, red is background."""
    from napari.layers import Points

    return Points(
        ndim=image.ndim,
        name=f"{image.name}: points",
        features=_no_marks(),
        feature_defaults=_defaults(True, None),
        face_color=POSITIVE,
        face_color_cycle=COLOURS,
        border_color="white",
        size=max(3.0, min(image.extent.data[1][-2:] - image.extent.data[0][-2:]) / 40),
        canvas_size_limits=POINT_SIZE_PX,
        **transform_of(image),
    )


def make_shapes(image: Image) -> Shapes:
    """An empty shapes layer over ``image``."""
    from napari.layers import Shapes

    return Shapes(
        ndim=image.ndim,
        name=f"{image.name}: shapes",
        features=_no_marks(),
        feature_defaults=_defaults(True, None),
        edge_color=POSITIVE,
        edge_color_cycle=COLOURS,
        face_color="transparent",
        edge_width=max(1.0, min(image.extent.data[1][-2:] - image.extent.data[0][-2:]) / 250),
        **transform_of(image),
    )


def set_defaults(
    layer: Points | Shapes, *, positive: bool, axes: tuple[int, int] | None
) -> None:
    """What the next marks of a layer will be."""
    wanted = {POSITIVE: positive, AXES: _axes_text(axes)}
    if dict(layer.feature_defaults.iloc[0]) != wanted:
        layer.feature_defaults = _defaults(positive, axes)


def point_marks(image: Image, layer: Points) -> tuple[PointMark, ...]:
    """Every point of a layer, in data pixels of ``image``."""
    positive, axes = _columns(layer, len(layer.data))
    positions = positions_in(image, layer, layer.data)
    return tuple(
        PointMark(tuple(float(v) for v in position), positive[i], axes[i])
        for i, position in enumerate(positions)
    )


def shape_marks(image: Image, layer: Shapes) -> tuple[ShapeMark, ...]:
    """Every finished shape of a layer, in data pixels of ``image``."""
    positive, axes = _columns(layer, len(layer.data))
    kinds = list(layer.shape_type)
    return tuple(
        ShapeMark(kinds[i], positions_in(image, layer, vertices), positive[i], axes[i])
        for i, vertices in enumerate(layer.data)
    )


def _columns(layer: Points | Shapes, count: int) -> tuple[list[bool], list[tuple[int, int] | None]]:
    """Sign and axes of each mark; a layer made by others has neither: foreground, as displayed."""
    table = layer.features
    positive = [True] * count
    axes: list[tuple[int, int] | None] = [None] * count
    if POSITIVE in table and len(table) == count:
        positive = [bool(v) if pd.notna(v) else True for v in table[POSITIVE]]
    if AXES in table and len(table) == count:
        axes = [_axes_of(v) for v in table[AXES]]
    return positive, axes


def _no_marks() -> pd.DataFrame:
    return pd.DataFrame({POSITIVE: np.zeros(0, bool), AXES: np.zeros(0, object)})


def _defaults(positive: bool, axes: tuple[int, int] | None) -> pd.DataFrame:
    return pd.DataFrame({POSITIVE: [positive], AXES: [_axes_text(axes)]})


def _axes_text(axes: tuple[int, int] | None) -> str:
    return "" if axes is None else f"{axes[0]},{axes[1]}"


def _axes_of(text: Any) -> tuple[int, int] | None:
    if not isinstance(text, str) or "," not in text:
        return None
    row, col = text.split(",")
    return int(row), int(col)


def flip_selected(layer: Points) -> None:
    """Make selected foreground points background, and the other way round."""
    table = layer.features.copy()
    if POSITIVE not in table:
        return
    for row in layer.selected_data:
        table.loc[row, POSITIVE] = not bool(table.loc[row, POSITIVE])
    layer.features = table
    layer.refresh_colors()
