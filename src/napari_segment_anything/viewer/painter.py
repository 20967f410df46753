"""Paints what a session says into its layers; implements `core.session.Canvas`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.utils.notifications import show_error, show_warning
from numpy.typing import NDArray

from ..core.engine import AutoMaskRequest
from ..core.labels import automask_edit, object_edit
from ..core.session import ObjectState
from ..geometry.planes import PlaneRef
from .layers import SessionLayers, show_plane_mask
from .writing import add_features, largest_label, write_edit


class Painter:
    """``plane`` tells the displayed plane; ``changed`` is called when a session has news."""

    def __init__(
        self,
        layers: SessionLayers,
        plane: Callable[[], PlaneRef | None],
        changed: Callable[[], Any],
    ) -> None:
        self.layers = layers
        self._plane = plane
        self._changed = changed

    def show_live(self, current: ObjectState) -> None:
        """Paint the current object's mask, if it belongs to the displayed plane."""
        plane = self._plane()
        if plane is None:
            return
        is_here = current.view is not None and current.view.plane == plane
        mask = current.mask if is_here and current.prompt is not None else None
        show_plane_mask(self.layers.mask, self.layers.image, plane, mask)

    def write_object(self, done: ObjectState) -> None:
        """Paint a committed object under its label, or a fresh one."""
        if done.mask is None or done.view is None:
            return
        labels, plane = self.layers.labels, done.view.plane
        label = done.replaces or largest_label(labels) + 1
        before = plane.pixels(labels.data)
        edit = object_edit(
            before, done.mask, label, overwrite=done.overwrite, replaces=done.replaces
        )
        if edit.is_empty:
            if done.replaces is None:
                show_warning("Nothing to commit: the mask has no pixel free of other objects.")
            return
        write_edit(labels, plane, edit)
        area = int((plane.pixels(labels.data) == label).sum())
        add_features(labels, {label: {"predicted_iou": done.iou, "area": area}})
        labels.selected_label = label

    def write_auto_masks(
        self, request: AutoMaskRequest, found: NDArray[np.int32], records: list[dict[str, Any]]
    ) -> None:
        """Paint a whole-image segmentation, with its scores as features."""
        labels, plane = self.layers.labels, request.view.plane
        first = largest_label(labels) + 1
        before = plane.pixels(labels.data)
        edit, kept = automask_edit(before, found, first, overwrite=request.overwrite)
        write_edit(labels, plane, edit)
        areas = np.bincount(edit.values[edit.values >= first] - first, minlength=len(kept))
        rows = {
            first + place: {
                "predicted_iou": float(records[index]["predicted_iou"]),
                "stability_score": float(records[index]["stability_score"]),
                "area": int(areas[place]),
            }
            for place, index in enumerate(kept.tolist())
        }
        if rows:
            add_features(labels, rows)
        else:
            show_warning("No new object passed the filters; lower the thresholds to see more.")

    def status_changed(self) -> None:
        """Pass the news on."""
        self._changed()

    def report(self, error: Exception) -> None:
        """Show an error as a napari notification."""
        show_error(str(error) or type(error).__name__)
