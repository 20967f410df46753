"""Writes masks into napari's labels layers, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..core.labels import LabelEdit, ObjectScores
from ..geometry.planes import PlaneRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Labels

SCORE_COLUMNS = ("predicted_iou", "stability_score", "area")


def apply_edit(labels: Labels, edit: LabelEdit) -> None:
    """Write an edit into a labels layer of the image's shape: one step of its own history."""
    if edit.is_empty:
        return
    if not labels.visible:
        labels.set_view_slice()  # a hidden layer has no slice yet, and napari writes into it
    # Touching the pixels of a hidden or editable=False layer is napari's business, not ours.
    with labels.block_history():
        labels.data_setitem(edit.plane.volume_index(edit.rows, edit.cols), edit.values)


def show_mask(layer: Labels, plane: PlaneRef, mask: NDArray[np.bool_] | None) -> None:
    """Fill the live layer in place, which already lies in ``plane``; None empties it."""
    if mask is None:
        if not layer.data.any():
            return
        layer.data[...] = 0
    else:
        layer.data[...] = plane.place(mask)
    layer.refresh(extent=False, thumbnail=False)


def record_scores(labels: Labels, objects: Sequence[ObjectScores]) -> None:
    """Add or replace the objects' rows in ``labels.features``; ``index`` is the label id.

    napari's undo restores pixels, not features: rows of objects that were undone stay, so that
    redo finds them, and are dropped by the first commit after, when redo is no longer possible.
    """
    if not objects:
        return
    rows = pd.DataFrame(
        {
            "index": [o.label for o in objects],
            "predicted_iou": [o.predicted_iou for o in objects],
            "stability_score": [o.stability_score for o in objects],
            "area": [o.area for o in objects],
        }
    )
    old = labels.features
    if "index" in old.columns and len(old):
        keep = ~old["index"].isin(rows["index"]) & old["index"].isin(present_labels(labels))
        rows = pd.concat([old[keep], rows], ignore_index=True)
    labels.features = rows


def present_labels(labels: Labels) -> NDArray[np.integer]:
    """Ids with at least one pixel."""
    return np.flatnonzero(np.bincount(np.asarray(labels.data).ravel().astype(np.int64)))
