"""The four layers of a session: made when needed, adopted, moved with the image, let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..geometry.planes import PlaneRef
from .paint import show_mask
from .prompt_layers import make_points, make_shapes
from .view import spatial_shape, transform_of, translate_of_plane

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Points, Shapes

MASK_COLOUR = "#19d3ff"
ROLES = ("labels", "mask", "shapes", "points")
TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine")


class LayerSet:
    """Layers by role. One that was removed from the viewer is made again when it is needed.

    ``on_new`` is called with role and layer whenever a layer takes its role, ``on_gone`` when it
    leaves it. It is also the session's `Canvas`: the committed labels as arrays.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        on_new: Callable[[str, Any], None],
        on_gone: Callable[[str, Any], None],
    ) -> None:
        self.viewer = viewer
        self.image = image
        self.plane: PlaneRef | None = None
        self._on_new = on_new
        self._on_gone = on_gone
        self._layers: dict[str, Any] = {}
        self._made: set[str] = set()
        self._highest: int | None = None

    # Access ----------------------------------------------------------------------------------

    def __contains__(self, layer: Layer) -> bool:
        return layer is self.image or any(layer is own for own in self._layers.values())

    def peek(self, role: str) -> Any | None:
        """The layer in a role, None if there is none at present."""
        return self._layers.get(role)

    @property
    def points(self) -> Points:
        """Foreground and background points."""
        return self._ensure("points", make_points)

    @property
    def shapes(self) -> Shapes:
        """Boxes, outlines and scribbles."""
        return self._ensure("shapes", make_shapes)

    @property
    def mask(self) -> Labels:
        """The live mask."""
        return self._ensure("mask", self._make_mask)

    @property
    def labels(self) -> Labels:
        """The committed objects."""
        return self._ensure("labels", _make_labels)

    def adopt(self, role: str, layer: Any) -> None:
        """Let a layer of the user's take a role.

        Raises:
            ValueError: it cannot, and why.
        """
        if role == "labels":
            check_labels(self.image, layer)
        elif layer.ndim != self.image.ndim:
            raise ValueError(
                f"Expected a layer with the image's {self.image.ndim} axes, got {layer.ndim} in "
                f"{layer.name!r}; add a new layer while the image is shown."
            )
        self._release(role)
        self._take(role, layer, made=False)

    # Canvas ----------------------------------------------------------------------------------

    def labels_in(self, plane: PlaneRef) -> NDArray[np.integer] | None:
        """(H, W) committed labels in ``plane``, None if the image no longer has such a plane."""
        if plane.shape != spatial_shape(self.image):
            return None
        return plane.cut(self.labels.data)

    def highest_label(self) -> int:
        """The highest committed id; searched again only after somebody else wrote."""
        if self._highest is None:
            data = self.labels.data
            self._highest = max(0, int(np.asarray(data.max()))) if data.size else 0
        return self._highest

    def forget_highest(self, event: Any = None) -> None:
        """The committed labels were changed, by whomever."""
        self._highest = None

    # Following the image ---------------------------------------------------------------------

    def show_plane(self, plane: PlaneRef | None) -> None:
        """Move the live mask into ``plane``, empty."""
        self.plane = plane
        mask: Labels | None = self.peek("mask")
        if mask is None or plane is None:
            return
        show_mask(mask, plane, None)
        if mask.data.shape != plane.thin_shape:
            mask.data = np.zeros(plane.thin_shape, np.uint8)
        wanted = translate_of_plane(self.image, plane)
        if not np.allclose(mask.translate, wanted):
            mask.translate = wanted

    def follow_transform(self) -> None:
        """Give the layers made here the image's transform."""
        transform = transform_of(self.image)
        for role in self._made:
            layer = self._layers[role]
            for name in TRANSFORM_EVENTS:
                setattr(layer, name, transform[name])
        if self.plane is not None and (mask := self.peek("mask")) is not None:
            mask.translate = translate_of_plane(self.image, self.plane)

    def follow_shape(self) -> None:
        """The image has another shape: let go, never change, what no longer fits."""
        labels: Labels | None = self.peek("labels")
        if labels is not None and tuple(labels.data.shape) != spatial_shape(self.image):
            self._release("labels")
        for role in ("points", "shapes", "mask"):
            layer = self.peek(role)
            if layer is not None and layer.ndim != self.image.ndim:
                self._release(role)
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)

    def forget(self, layer: Layer) -> None:
        """A layer was removed from the viewer."""
        for role, own in list(self._layers.items()):
            if own is layer:
                self._release(role)

    def release_all(self, *, remove: bool) -> None:
        """Let go of every layer; with ``remove``, take out prompts and live mask made here."""
        made = set(self._made)
        for role, layer in list(self._layers.items()):
            self._release(role)
            if remove and role in made and role != "labels" and layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    # Inside ----------------------------------------------------------------------------------

    def _ensure(self, role: str, make: Callable[[Image], Any]) -> Any:
        if role not in self._layers:
            layer = make(self.image)
            active = self.viewer.layers.selection.active
            selected = set(self.viewer.layers.selection)
            self.viewer.layers.insert(self._slot(role), layer)
            self._take(role, layer, made=True)
            if active is not None:  # napari selects what is added; the user did not ask for that
                self.viewer.layers.selection = selected
                self.viewer.layers.selection.active = active
        return self._layers[role]

    def _slot(self, role: str) -> int:
        """Just above the image and the roles below this one."""
        below = [self.image, *(self._layers.get(r) for r in ROLES[: ROLES.index(role)])]
        at = [self.viewer.layers.index(x) for x in below if x is not None and x in self.viewer.layers]
        return max(at, default=len(self.viewer.layers) - 1) + 1

    def _make_mask(self, image: Image) -> Labels:
        from napari.layers import Labels
        from napari.utils import DirectLabelColormap

        plane = self.plane
        if plane is None:
            axes = (image.ndim - 2, image.ndim - 1)
            plane = PlaneRef.through(spatial_shape(image), axes, np.zeros(image.ndim))
        if plane is None:
            raise ValueError(f"Expected an image with pixels, got shape {spatial_shape(image)}.")
        place = transform_of(image) | {"translate": translate_of_plane(image, plane)}
        mask = Labels(
            np.zeros(plane.thin_shape, np.uint8),
            name=f"{image.name}: current mask",
            colormap=DirectLabelColormap(color_dict={None: "transparent", 1: MASK_COLOUR}),
            opacity=0.5,
            **place,
        )
        mask.editable = False
        return mask

    def _take(self, role: str, layer: Any, *, made: bool) -> None:
        self._layers[role] = layer
        if made:
            self._made.add(role)
        if role == "labels":
            self._highest = None
            for name in ("paint", "labels_update", "data"):
                layer.events[name].connect(self.forget_highest)
        self._on_new(role, layer)

    def _release(self, role: str) -> None:
        layer = self._layers.pop(role, None)
        self._made.discard(role)
        if layer is None:
            return
        if role == "labels":
            self._highest = None
            for name in ("paint", "labels_update", "data"):
                layer.events[name].disconnect(self.forget_highest)
        self._on_gone(role, layer)


def _make_labels(image: Image) -> Labels:
    from napari.layers import Labels

    return Labels(
        np.zeros(spatial_shape(image), np.int32),
        name=f"{image.name}: objects",
        **transform_of(image),
    )


def check_labels(image: Image, labels: Labels) -> None:
    """Raise `ValueError` unless objects of ``image`` can be written into ``labels``."""
    if labels.multiscale or not hasattr(labels.data, "__setitem__"):
        raise ValueError(
            f"Expected labels that can be written to, got a multiscale layer {labels.name!r}; "
            "duplicate it as a plain labels layer."
        )
    if type(labels.data).__module__.startswith("dask"):
        raise ValueError(
            f"Expected labels in memory or zarr, got dask in {labels.name!r}; dask arrays cannot be "
            "painted. Compute them first."
        )
    if tuple(labels.data.shape) != spatial_shape(image):
        raise ValueError(
            f"Expected labels of shape {spatial_shape(image)} for {image.name!r}, got "
            f"{tuple(labels.data.shape)} in {labels.name!r}; choose labels of this image."
        )
