"""Paints what a session says into its layers; implements `core.session.Canvas`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.utils.notifications import show_error, show_warning
from numpy.typing import NDArray

from ..core.engine import AutoMaskRequest
from ..core.functions import Records
from ..core.labels import LabelEdit, automask_edit, object_edit
from ..core.objects import ObjectState
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
        self._last_plane: PlaneRef | None = None
        self._changed = changed

    def show_live(self, current: ObjectState) -> None:
        """Paint the current object's mask, if it belongs to the displayed plane.

        Where no plane is displayed, as in 3-D, the last one counts.
        """
        plane = self._last_plane = self._plane() or self._last_plane
        if plane is None:
            return
        is_here = current.view is not None and current.view.plane == plane
        mask = current.mask if is_here and current.prompt is not None else None
        show_plane_mask(self.layers.mask, self.layers.image, plane, mask)

    def write_object(self, done: ObjectState) -> None:
        """Paint a committed object under its label, or a fresh one."""
        if done.mask is None or done.view is None:
            return
        labels, plane, refined = self.layers.labels, done.view.plane, done.refines
        if not done.mask.any():
            show_warning("Nothing to commit: the mask is empty. Click on the object again.")
            return
        label = refined.label if refined else largest_label(labels) + 1
        before = plane.pixels(labels.data)
        edit = object_edit(
            before,
            done.mask,
            label,
            overwrite=done.overwrite,
            replaces=refined.mask if refined else None,
        )
        if edit.is_empty:
            if refined is None:
                show_warning("Nothing to commit: the mask has no pixel free of other objects.")
            return
        lost = _lost_pixels(before, edit)
        write_edit(labels, plane, edit)
        area = int((plane.pixels(labels.data) == label).sum())
        add_features(labels, {label: {"predicted_iou": done.iou, "area": area}}, lost)
        labels.selected_label = label

    def write_auto_masks(
        self, request: AutoMaskRequest, found: NDArray[np.int32], records: Records
    ) -> None:
        """Paint a whole-image segmentation, with its scores as features."""
        labels, plane = self.layers.labels, request.view.plane
        first = largest_label(labels) + 1
        before = plane.pixels(labels.data)
        edit, kept = automask_edit(before, found, first, overwrite=request.overwrite)
        lost = _lost_pixels(before, edit)
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
            add_features(labels, rows, lost)
        else:
            show_warning("No new object passed the filters; lower the thresholds to see more.")

    def status_changed(self) -> None:
        """Pass the news on."""
        self._changed()

    def report(self, error: Exception) -> None:
        """Show an error as a napari notification; one that is no sentence with its type."""
        text = str(error)
        show_error(text if " " in text else f"{type(error).__name__}: {text}".rstrip(": "))

    def tell(self, message: str) -> None:
        """Show a warning as a napari notification."""
        show_warning(message)


def _lost_pixels(before: NDArray[np.integer], edit: LabelEdit) -> dict[int, int]:
    """Labels that an edit of the plane ``before`` takes pixels from, and how many."""
    labels, counts = np.unique(before[edit.rows, edit.cols], return_counts=True)
    return {int(n): int(c) for n, c in zip(labels, counts, strict=True) if n}
