"""The layers of a session: made beside an image, or adopted, in the image's own frame."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.colormaps import CyclicLabelColormap
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from ..geometry.planes import PlaneRef

FOREGROUND = "foreground"
FOREGROUND_COLOUR, BACKGROUND_COLOUR = "#2fd36b", "#ff4d4d"
MASK_COLOUR = "#19d3f3"
SYNCED = ("scale", "translate", "rotate", "shear", "affine", "units")


@dataclass(frozen=True)
class SessionLayers:
    """The image, and what a session draws beside it."""

    image: Image
    points: Points
    shapes: Shapes
    mask: Labels
    labels: Labels

    @property
    def own(self) -> tuple[Layer, ...]:
        """All but the image."""
        return (self.points, self.shapes, self.mask, self.labels)


def image_shape(image: Image) -> tuple[int, ...]:
    """Spatial shape of an image layer at full resolution."""
    shape = image.level_shapes[0] if image.multiscale else image.data.shape
    return tuple(int(n) for n in shape[: image.ndim])


def image_data(image: Image) -> Any:
    """The image's array at full resolution."""
    return image.data[0] if image.multiscale else image.data


def transform_of(image: Layer) -> dict[str, Any]:
    """Keyword arguments that put a new layer where ``image`` is, in its units."""
    return {
        "units": image.units,
        "scale": image.scale,
        "translate": image.translate,
        "rotate": image.rotate,
        "shear": image.shear,
        "affine": image.affine.affine_matrix,
    }


def copy_transform(image: Layer, layer: Layer) -> None:
    """Move an existing layer to where ``image`` is."""
    for name, value in transform_of(image).items():
        setattr(layer, name, value)


def make_layers(viewer: ViewerModel, image: Image) -> SessionLayers:
    """Make the session's layers above the image, or adopt those that an earlier session left."""
    labels = _adopted(viewer, "objects", Labels, image, _holds_objects)
    if labels is None:
        data = np.zeros(image_shape(image), np.int32)
        labels = viewer.add_labels(data, name=f"{image.name} objects", **transform_of(image))
    mask = _adopted(viewer, "current mask", Labels, image)
    if mask is None:
        mask = viewer.add_labels(
            np.zeros(plane_shape(image, None), np.uint8),
            name=f"{image.name} current mask",
            opacity=0.6,
            colormap=CyclicLabelColormap(colors=["transparent", MASK_COLOUR]),
            **transform_of(image),
        )
    shapes = _adopted(viewer, "boxes", Shapes, image)
    if shapes is None:
        shapes = viewer.add_shapes(
            name=f"{image.name} boxes",
            ndim=image.ndim,
            edge_color="#ffd34d",
            face_color="transparent",
            edge_width=max(1.0, max(image_shape(image)[-2:]) / 300),
            **transform_of(image),
        )
    points = _adopted(viewer, "points", Points, image, lambda p, _: FOREGROUND in p.features)
    if points is None:
        points = _add_points(viewer, image)
    used = {"objects": labels, "current mask": mask, "boxes": shapes, "points": points}
    for role, layer in used.items():
        copy_transform(image, layer)
        _LEFT.setdefault(image, []).append((role, weakref.ref(layer)))
    return SessionLayers(image, points, shapes, mask, labels)


_LEFT: weakref.WeakKeyDictionary[Layer, list[tuple[str, weakref.ref[Layer]]]]
_LEFT = weakref.WeakKeyDictionary()
"""Layers that sessions on an image have used, by their role; names may change, and may be taken."""


def is_live_mask(layer: Layer) -> bool:
    """Whether a layer shows the current mask of some session, and no objects to keep."""
    return any(
        role == "current mask" and reference() is layer
        for used in _LEFT.values()
        for role, reference in used
    )


def _adopted(
    viewer: ViewerModel,
    role: str,
    kind: type[Layer],
    image: Image,
    fits: Callable[[Any, Image], bool] = lambda layer, image: True,
) -> Any:
    """The viewer's layer that an earlier session on this image left, if it still fits.

    One that was only named so, as after a restart of napari, will do as well.
    """
    left = [ref() for known, ref in reversed(_LEFT.get(image, [])) if known == role]
    name = f"{image.name} {role}"
    if name in viewer.layers:
        left.append(viewer.layers[name])
    for layer in left:
        is_here = isinstance(layer, kind) and layer in viewer.layers
        if is_here and layer.ndim == image.ndim and fits(layer, image):
            return layer
    return None


def _holds_objects(labels: Labels, image: Image) -> bool:
    """True if the image's objects fit into a layer, which is made int32 if it is not."""
    if labels.multiscale or tuple(labels.data.shape) != image_shape(image):
        return False
    if labels.data.dtype != np.int32:
        if not isinstance(labels.data, np.ndarray) or labels.data.max(initial=0) >= 2**31:
            return False
        labels.data = labels.data.astype(np.int32)
    return True


def _add_points(viewer: ViewerModel, image: Image) -> Points:
    points = viewer.add_points(
        np.zeros((0, image.ndim)),
        name=f"{image.name} points",
        ndim=image.ndim,
        features={FOREGROUND: np.zeros(0, bool)},
        feature_defaults={FOREGROUND: True},
        face_color=FOREGROUND,
        face_color_cycle={True: FOREGROUND_COLOUR, False: BACKGROUND_COLOUR},
        border_color="white",
        size=max(2.0, max(image_shape(image)[-2:]) / 90),
        **transform_of(image),
    )
    points.face_color_mode = "cycle"
    points.feature_defaults = {FOREGROUND: [True]}
    return points


def plane_shape(image: Image, plane: PlaneRef | None) -> tuple[int, ...]:
    """Shape of a one-plane array with the image's axes; before there is a plane, its last two."""
    shown = (image.ndim - 2, image.ndim - 1) if plane is None else (plane.row, plane.col)
    return tuple(n if a in shown else 1 for a, n in enumerate(image_shape(image)))


def plane_offset(image: Layer, plane: PlaneRef) -> NDArray[np.float64]:
    """Translate that puts a one-plane array with the image's transform at ``plane``."""
    inner = Affine(
        scale=image.scale, translate=image.translate, rotate=image.rotate, shear=image.shear
    )
    return np.asarray(inner(np.asarray(plane.at, float)), float)


def show_plane_mask(
    mask_layer: Labels, image: Image, plane: PlaneRef, mask: NDArray[np.bool_] | None
) -> None:
    """Put ``mask`` (H, W), or nothing, into the live layer at ``plane``."""
    if mask_layer.data.shape != plane_shape(image, plane):
        mask_layer.data = np.zeros(plane_shape(image, plane), np.uint8)
    offset = plane_offset(image, plane)
    if not np.allclose(mask_layer.translate, offset):
        mask_layer.translate = offset
    at = PlaneRef(plane.row, plane.col, (0,) * plane.ndim)
    target = at.pixels(mask_layer.data)  # a view: writing to it writes to the layer
    target[...] = 0 if mask is None else mask
    mask_layer.refresh(extent=False, thumbnail=False)
