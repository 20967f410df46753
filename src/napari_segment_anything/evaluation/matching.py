"""Which found object is which true one: overlaps of masks and label images, one-to-one matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Overlaps:
    """The pairs of a true and a found object of one image that share pixels.

    Pair p is true object ``true_index[p]`` and found object ``found_index[p]``, which share
    ``shared_px[p]`` pixels; objects are counted from 0 in the order of their ids. ``true_px`` (T,)
    and ``found_px`` (F,) are the objects' areas. All other IoUs of the T x F matrix are 0: of
    thousands of objects each meets a few.
    """

    true_index: Indices
    found_index: Indices
    shared_px: Indices
    true_px: Indices
    found_px: Indices

    @property
    def sums_px(self) -> Indices:
        """(P,) area of both objects of each pair, what they share counted twice."""
        return self.true_px[self.true_index] + self.found_px[self.found_index]

    @property
    def iou(self) -> NDArray[np.float64]:
        """(P,) IoU of each pair."""
        return np.asarray(self.shared_px / (self.sums_px - self.shared_px), np.float64)

    @property
    def dice(self) -> NDArray[np.float64]:
        """(P,) Dice coefficient of each pair."""
        return np.asarray(2 * self.shared_px / self.sums_px, np.float64)


def iou_of(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """IoU of two masks of the same shape; 1 if both are empty."""
    union = int(np.count_nonzero(a | b))
    return np.count_nonzero(a & b) / union if union else 1.0


def iou_in_place(
    mask: NDArray[np.bool_],
    origin_yx: NDArray[np.integer],
    labels: NDArray[np.integer],
    label: int,
    area_px: int,
) -> float:
    """IoU of a mask (h, w), whose first pixel is at ``origin_yx``, with an object of (H, W) labels.

    The object has ``area_px`` pixels, some of which may lie outside of the mask's part.
    """
    y, x = origin_yx
    here = labels[y : y + mask.shape[0], x : x + mask.shape[1]] == label
    shared = np.count_nonzero(mask & here)
    return shared / (np.count_nonzero(mask) + area_px - shared)


def overlaps_of(found: NDArray[np.integer], true: NDArray[np.integer]) -> Overlaps:
    """Two label images (H, W), 0 background, any ids -> their overlaps.

    Raises:
        ValueError: images of different sizes.
    """
    if found.shape != true.shape:
        raise ValueError(f"Expected labels of the same size, got {found.shape} and {true.shape}.")
    true_at, true_px = _counted(true)
    found_at, found_px = _counted(found)
    both = (true_at >= 0) & (found_at >= 0)
    places = (true_at[both], found_at[both])
    ones = np.ones(len(places[0]), np.int64)
    table = coo_array((ones, places), shape=(len(true_px), len(found_px)))
    table.sum_duplicates()
    rows, columns = table.coords
    return Overlaps(rows.astype(np.int64), columns.astype(np.int64), table.data, true_px, found_px)


def _counted(labels: NDArray[np.integer]) -> tuple[NDArray[Any], Indices]:
    """(H * W,) index of each pixel's object, -1 in the background, and the objects' areas."""
    ids, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    background = int(len(ids) > 0 and ids[0] == 0)
    return index.reshape(-1) - background, counts[background:].astype(np.int64)


def matches(overlaps: Overlaps, threshold: float) -> Indices:
    """(M,) pairs whose IoU is ``threshold`` or more, each object in one of them at most.

    As many pairs as can be, and of all such choices the one with the largest sum of IoUs: the
    optimal assignment. Above 0.5 there is no choice, as no object has two such partners.

    Raises:
        ValueError: a threshold that is not above 0.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"Expected an IoU threshold above 0 and up to 1, got {threshold}.")
    iou = overlaps.iou
    pairs = np.flatnonzero(iou >= threshold)
    rows, columns = overlaps.true_index[pairs], overlaps.found_index[pairs]
    contested = (np.bincount(rows)[rows] > 1) | (np.bincount(columns)[columns] > 1)
    if not contested.any():
        return pairs
    alone = pairs[~contested]
    return np.sort(np.concatenate([alone, _assigned(overlaps, pairs[contested], iou)]))


def _assigned(overlaps: Overlaps, pairs: Indices, iou: NDArray[np.float64]) -> Indices:
    """The best of ``pairs`` so that each object is in one at most."""
    rows, row_of = np.unique(overlaps.true_index[pairs], return_inverse=True)
    columns, column_of = np.unique(overlaps.found_index[pairs], return_inverse=True)
    shape = (len(rows), len(columns))
    # A pair more is worth more than any gain in IoU.
    worth = np.zeros(shape)
    worth[row_of, column_of] = 1 + iou[pairs] / (2 * min(shape))
    pair_at = np.full(shape, -1)
    pair_at[row_of, column_of] = pairs
    chosen = pair_at[linear_sum_assignment(worth, maximize=True)]
    return np.asarray(chosen[chosen >= 0], np.int64)
