"""The displayed plane of a layer, and the way between layers, all by napari's public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..geometry.planes import PlaneRef

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image, Layer


def unwrapped(obj: Any) -> Any:
    """The object behind napari's public-only proxy, or the object itself."""
    return getattr(obj, "__wrapped__", obj)


def full_data(image: Image) -> Any:
    """The image's data at full resolution; indexed with spatial indices first."""
    return image.data[0] if image.multiscale else image.data


def spatial_shape(image: Image) -> tuple[int, ...]:
    """Shape at full resolution, without the colour axis."""
    return tuple(int(n) for n in full_data(image).shape[: image.ndim])


def displayed_plane(image: Image, dims: Dims) -> PlaneRef | None:
    """The plane of ``image`` that the viewer shows; None in 3-D view or off the image."""
    if dims.ndisplay != 2:
        return None
    missing = dims.ndim - image.ndim
    axes = [axis - missing for axis in dims.order if axis >= missing][-2:]
    # Axes the viewer shows but the image lacks leave it with fewer than two of its own.
    if len(axes) < 2 or [a - missing for a in dims.displayed] != axes:
        return None
    return PlaneRef.through(spatial_shape(image), axes, image.world_to_data(dims.point))


def positions_in(image: Image, layer: Layer, coords: Any) -> NDArray[np.float64]:
    """(N, D') data pixels of ``layer`` -> (N, D) data pixels of ``image``, through the world.

    One position at a time: `world_to_data` keeps only the last rows of a stack of them.
    """
    rows = np.asarray(coords, np.float64).reshape(-1, layer.ndim)
    moved = [image.world_to_data(layer.data_to_world(row)) for row in rows]
    return np.asarray(moved, np.float64).reshape(-1, image.ndim)


def transform_of(image: Image) -> dict[str, Any]:
    """Keyword arguments that give another layer the image's place in the world."""
    return {
        "scale": np.array(image.scale),
        "translate": np.array(image.translate),
        "rotate": np.array(image.rotate),
        "shear": np.array(image.shear),
        "affine": np.array(image.affine.affine_matrix),
        "units": image.units,
        "axis_labels": image.axis_labels,
    }


def translate_of_plane(image: Image, plane: PlaneRef) -> NDArray[np.float64]:
    """`translate` of a layer with the plane's thin shape that puts it into the image."""
    offset = np.asarray(plane.at, np.float64)
    step = image.data_to_world(offset) - np.asarray(image.data_to_world(np.zeros(image.ndim)))
    within = np.linalg.solve(np.asarray(image.affine.linear_matrix), step)
    return np.asarray(np.asarray(image.translate) + within)
