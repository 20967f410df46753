"""Write edits into a labels layer so that napari's own undo takes them back in one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels

from ..core.labels import LabelEdit
from ..geometry.planes import PlaneRef


def write_edit(labels: Labels, plane: PlaneRef, edit: LabelEdit) -> None:
    """Apply an edit of a plane; one undo step.

    Raises:
        ValueError: a layer that napari cannot write to, or a label too large for its type.
    """
    if edit.is_empty:
        return
    if labels.multiscale or not hasattr(labels.data, "__setitem__"):
        raise ValueError(
            f"Expected a labels layer that can be written to, {labels.name!r} is multiscale or "
            "lazy; choose another one."
        )
    largest = int(edit.values.max())
    if largest > np.iinfo(labels.data.dtype).max:
        raise ValueError(
            f"Expected labels up to {np.iinfo(labels.data.dtype).max} in {labels.name!r} "
            f"({labels.data.dtype}), got {largest}; convert the layer to int32."
        )
    if not labels.visible:
        labels.set_view_slice()  # else napari fails after it has written
    with labels.block_history():
        labels.data_setitem(plane.from_rows_cols(edit.rows, edit.cols), edit.values)


def add_features(labels: Labels, rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Set features of label ids; the ``index`` column says which label a row belongs to.

    Undo takes pixels back but not features: a row may outlive its label, and describes it again
    if the pixels return.
    """
    table = pd.DataFrame(labels.features)
    if "index" in table.columns:
        table = table[~table["index"].isin(list(rows))]
    new = pd.DataFrame([{"index": label, **values} for label, values in rows.items()])
    labels.features = new if table.empty else pd.concat([table, new], ignore_index=True)


def largest_label(labels: Labels) -> int:
    """Largest label anywhere in the layer; 0 if it is empty."""
    data = labels.data
    return int(np.asarray(data.max())) if np.prod(data.shape) else 0
