"""Connects napari's events to a controller, and takes every connection back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .layers import TRANSFORM_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .controller import LayerSession

PLANE_EVENTS = ("point", "order", "ndisplay", "ndim")
FINISHED = ("added", "removed", "changed")


class Bindings:
    """All connections of one session. Nothing else in the package connects to layers.

    The closures are what keeps a session alive, and they hang on its image layer: when the layer
    goes, so does the session.
    """

    def __init__(self, session: LayerSession) -> None:
        self._session = session
        self._connected: list[tuple[Any, Callable[..., None]]] = []
        self._by_layer: dict[int, list[tuple[Any, Callable[..., None]]]] = {}
        image, viewer = session.image, session.viewer
        self._connect(image.events.data, lambda event: session.image_changed())
        self._connect(image.events.contrast_limits, lambda event: session.contrast_changed())
        for name in TRANSFORM_EVENTS:
            self._connect(image.events[name], lambda event: session.transform_changed())
        for name in PLANE_EVENTS:
            self._connect(viewer.dims.events[name], lambda event: session.dims_changed())
        self._connect(
            viewer.layers.events.removed, lambda event: session.layer_removed(event.value)
        )

    def bind_layer(self, role: str, layer: Any) -> None:
        """Listen to a layer that has taken a role."""
        if role not in ("points", "shapes"):
            return
        session = self._session

        def data_changed(event: Any) -> None:
            action = str(getattr(event, "action", "changed")).lower().rsplit(".", 1)[-1]
            if action not in FINISHED:
                return
            if action == "added":
                for _ in getattr(event, "data_indices", (0,)):
                    session.drawn(role)
            session.marks_changed()

        mine: list[tuple[Any, Callable[..., None]]] = [
            (layer.events.data, data_changed),
            (layer.events.features, lambda event: session.marks_changed()),
            (layer.events.feature_defaults, lambda event: session.defaults_changed(layer)),
        ]
        for emitter, callback in mine:
            emitter.connect(callback)
        self._by_layer[id(layer)] = mine

    def unbind_layer(self, role: str, layer: Any) -> None:
        """Stop listening to a layer that has left its role."""
        for emitter, callback in self._by_layer.pop(id(layer), []):
            emitter.disconnect(callback)

    def close(self) -> None:
        """Take back what was connected to the image and to the viewer."""
        for emitter, callback in self._connected:
            emitter.disconnect(callback)
        self._connected.clear()

    def _connect(self, emitter: Any, callback: Callable[..., None]) -> None:
        emitter.connect(callback)
        self._connected.append((emitter, callback))
