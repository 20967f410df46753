"""The displayed 2-D plane of an n-D layer, in the layer's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PlaneRef:
    """A plane of an array: ``row`` and ``col`` are the axes shown down and across.

    ``at`` gives every axis' index; those of the two axes shown mean nothing and are 0.
    """

    row: int
    col: int
    at: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Axes of the array."""
        return len(self.at)

    @property
    def index(self) -> tuple[int | slice, ...]:
        """What to index the array with; the result has the lower shown axis first."""
        shown = (self.row, self.col)
        return tuple(slice(None) if a in shown else i for a, i in enumerate(self.at))

    @property
    def is_transposed(self) -> bool:
        """True if the axis shown across comes before the one shown down."""
        return self.row > self.col

    def pixels(self, data: Any) -> NDArray[Any]:
        """The plane of an array-like, (H, W) or (H, W, C); reads lazy arrays."""
        part = np.asarray(data[self.index])
        return part.swapaxes(0, 1) if self.is_transposed else part

    def size_hw(self, shape: Sequence[int]) -> tuple[int, int]:
        """(H, W) of the plane of an array of ``shape``."""
        return int(shape[self.row]), int(shape[self.col])

    def holds(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(N, ndim) points in array pixels -> (N,) True for those in this plane."""
        fixed = [a for a in range(self.ndim) if a not in (self.row, self.col)]
        rounded = np.round(np.asarray(points, float).reshape(-1, self.ndim))
        inside: NDArray[np.bool_] = (rounded[:, fixed] == np.asarray(self.at)[fixed]).all(axis=1)
        return inside

    def to_xy(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, ndim) points in array pixels -> (N, 2) plane pixels (x, y)."""
        return np.asarray(points, float).reshape(-1, self.ndim)[:, [self.col, self.row]]

    def from_rows_cols(
        self, rows: NDArray[np.integer], cols: NDArray[np.integer]
    ) -> tuple[NDArray[np.integer], ...]:
        """Plane pixels -> one index array per axis of the n-D array."""
        out = [np.full(rows.shape, i) for i in self.at]
        out[self.row], out[self.col] = rows, cols
        return tuple(out)


def displayed_plane(
    order: Sequence[int], point_in_layer: NDArray[np.floating], shape: Sequence[int]
) -> PlaneRef | None:
    """Plane shown in a 2-D view.

    ``order`` is the viewer's axis order, slowest first; a layer with fewer axes has its last ones.
    ``point_in_layer`` is the viewer's position in the layer's pixels, ``shape`` the layer's. None
    if the position is outside of the layer, where nothing is shown.
    """
    ndim = len(shape)
    missing = len(order) - ndim
    own = [a - missing for a in order if a >= missing]
    row, col = own[-2:]
    at = np.round(np.asarray(point_in_layer)).astype(int)
    if any(not 0 <= at[a] < shape[a] for a in own[:-2]):
        return None
    return PlaneRef(row, col, tuple(0 if a in (row, col) else int(at[a]) for a in range(ndim)))
