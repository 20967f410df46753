"""Masks <-> run lengths, column by column from the top left, as COCO counts them."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class Rle(TypedDict):
    """Uncompressed COCO runs: ``size`` [H, W], ``counts`` alternate, background first."""

    size: list[int]
    counts: list[int]


def mask_to_rle(mask: NDArray[np.bool_]) -> Rle:
    """(H, W) bool -> its runs."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0], changes, [flat.size]]) if flat.size else np.zeros(1, int)
    counts = np.diff(ends).tolist()
    if flat.size and flat[0]:
        counts.insert(0, 0)
    return {"size": list(mask.shape), "counts": counts}


def rle_to_mask(rle: Rle) -> NDArray[np.bool_]:
    """Runs -> (H, W) bool."""
    h, w = rle["size"]
    values = np.arange(len(rle["counts"])) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, rle["counts"]).reshape(w, h).T)


def rle_area(rle: Rle) -> int:
    """Pixels of the object."""
    return sum(rle["counts"][1::2])


def rle_to_coco(rle: Rle) -> dict[str, Any]:
    """Runs -> COCO's compressed form, ``counts`` a string."""
    from pycocotools import mask as coco

    h, w = rle["size"]
    packed: dict[str, Any] = coco.frPyObjects(rle, h, w)
    packed["counts"] = packed["counts"].decode("utf-8")  # bytes do not survive JSON
    return packed
