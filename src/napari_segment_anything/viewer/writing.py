"""Write edits into a labels layer so that napari's own undo takes them back in one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels

from ..core.labels import LabelEdit
from ..geometry.planes import PlaneRef


def check_writable(labels: Labels, shape: tuple[int, ...]) -> None:
    """See that the labels of an image of ``shape`` can be written.

    Raises:
        ValueError: a layer that napari cannot write to, of another shape, or with no label left.
    """
    data = labels.data
    if labels.multiscale or hasattr(data, "dask") or not hasattr(data, "__setitem__"):
        raise ValueError(
            f"Expected a labels layer that can be written to, {labels.name!r} is multiscale or "
            "lazy; set its data to a NumPy array."
        )
    if tuple(data.shape) != shape:
        raise ValueError(
            f"Expected labels of the image's shape {shape} in {labels.name!r}, got "
            f"{tuple(data.shape)}; set its data to an array of that shape."
        )
    if data.dtype.itemsize < 4:  # no one runs out of larger types, and looking takes its time
        _check_range(labels, largest_label(labels) + 1)


def _check_range(labels: Labels, largest: int) -> None:
    limit = np.iinfo(labels.data.dtype).max
    if largest > limit:
        raise ValueError(
            f"Expected labels up to {limit} in {labels.name!r} ({labels.data.dtype}), got "
            f"{largest}; convert the layer to int32."
        )


def write_edit(labels: Labels, plane: PlaneRef, edit: LabelEdit) -> None:
    """Apply an edit of a plane; one undo step.

    Raises:
        ValueError: a layer that napari cannot write to, or a label too large for its type.
    """
    if edit.is_empty:
        return
    _check_range(labels, int(edit.values.max()))
    if not labels.visible:
        labels.set_view_slice()  # else napari fails after it has written
    with labels.block_history():
        labels.data_setitem(plane.from_rows_cols(edit.rows, edit.cols), edit.values)


def add_features(
    labels: Labels, rows: Mapping[int, Mapping[str, Any]], lost_px: Mapping[int, int]
) -> None:
    """Set features of label ids; the ``index`` column says which label a row belongs to.

    ``lost_px`` are the pixels that other labels have lost to the new ones: their ``area`` shrinks,
    and a row without any left goes. Undo takes pixels back but not features: a row may outlive
    its label, and describes it again if the pixels return.
    """
    table = pd.DataFrame(labels.features)
    if "index" not in table.columns:
        table = table.assign(index=np.arange(len(table)))  # as napari counts such rows
    table = table[~table["index"].isin(list(rows))]
    if "area" in table.columns and lost_px:
        lost = table["index"].map(lambda label: lost_px.get(label, 0))
        table = table.assign(area=table["area"] - lost)
        table = table[~((lost > 0) & (table["area"] <= 0))]
    new = pd.DataFrame([{"index": label, **values} for label, values in rows.items()])
    labels.features = new if table.empty else pd.concat([table, new], ignore_index=True)


def largest_label(labels: Labels) -> int:
    """Largest label anywhere in the layer; 0 if it is empty."""
    data = labels.data
    if not np.prod(data.shape):
        return 0
    return int(np.asarray(data.max() if hasattr(data, "max") else np.asarray(data).max()))
