"""What a committed object changes in a plane of labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_FREE_PART = 0.5


@dataclass(frozen=True)
class LabelEdit:
    """Pixels of a plane that change, and what they become; parallel (N,) arrays."""

    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    values: NDArray[np.int64]

    @property
    def is_empty(self) -> bool:
        """True if nothing changes."""
        return len(self.rows) == 0


def object_edit(
    labels: NDArray[np.integer],
    mask: NDArray[np.bool_],
    label: int,
    *,
    overwrite: bool,
    replaces: NDArray[np.bool_] | None = None,
) -> LabelEdit:
    """Write ``mask`` as ``label`` into the (H, W) plane ``labels``.

    Other objects keep their pixels unless ``overwrite``. ``replaces`` (H, W) is what ``label``
    looked like when it was taken to be refined: of it, what lies outside the mask becomes
    background; pixels that were given to the label since then stay.
    """
    labels = labels.astype(np.int64)  # a label too large for the layer must not wrap around
    free = np.ones_like(mask) if overwrite else labels == 0
    target = np.where(mask & free, label, labels)
    if replaces is not None:
        target[replaces & (labels == label) & ~mask] = 0
    return _changes(labels, target)


def automask_edit(
    labels: NDArray[np.integer], found: NDArray[np.integer], first_label: int, *, overwrite: bool
) -> tuple[LabelEdit, NDArray[np.intp]]:
    """Write all objects of ``found`` (H, W), ids 1..n, into the plane ``labels``.

    They go on background only, or over what is there with ``overwrite``. An object of which half
    or more is taken already is one that is there, and is left out: its rim would be no object.
    The others get consecutive labels from ``first_label``; the second result says which they are,
    as indices 0..n-1, in the order of their labels.
    """
    labels = labels.astype(np.int64)
    visible = found if overwrite else np.where(labels == 0, found, 0)
    size, free = (
        np.bincount(ids.ravel(), minlength=found.max(initial=0) + 1) for ids in (found, visible)
    )
    kept = np.flatnonzero((free > LEAST_FREE_PART * size) & (np.arange(len(size)) > 0))
    visible = np.where(np.isin(visible, kept), visible, 0)
    new_label = np.zeros(int(found.max(initial=0)) + 1, np.int64)
    new_label[kept] = first_label + np.arange(len(kept))
    target = np.where(visible > 0, new_label[visible], labels)
    return _changes(labels, target), (kept - 1).astype(np.intp)


def _changes(labels: NDArray[np.integer], target: NDArray[np.integer]) -> LabelEdit:
    rows, cols = np.nonzero(labels != target)
    return LabelEdit(rows, cols, target[rows, cols].astype(np.int64))
