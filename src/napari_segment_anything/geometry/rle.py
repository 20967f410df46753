"""Masks <-> run lengths, column by column from the top left, as COCO counts them."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class LocalMask:
    """A mask that is background outside of a rectangle, whose runs it keeps.

    ``origin_yx`` is the rectangle's first pixel in the image. A thousand small objects in a large
    image take the memory of the objects, not of a thousand images.
    """

    origin_yx: tuple[int, int]
    rle: Rle

    @classmethod
    def of(cls, mask: NDArray[np.bool_], origin_yx: tuple[int, int] = (0, 0)) -> LocalMask:
        """(h, w) bool, its first pixel at ``origin_yx``, cut down to its object."""
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows) == 0:
            return cls(origin_yx, mask_to_rle(mask[:1, :1]))
        cut = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        return cls((origin_yx[0] + int(rows[0]), origin_yx[1] + int(cols[0])), mask_to_rle(cut))

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the rectangle covers."""
        (y, x), (h, w) = self.origin_yx, self.rle["size"]
        return slice(y, y + h), slice(x, x + w)

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """The rectangle, (h, w) bool."""
        return rle_to_mask(self.rle)

    @property
    def area(self) -> int:
        """Pixels of the object."""
        return rle_area(self.rle)

    def full(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask in an image of ``size_hw`` pixels."""
        out = np.zeros(size_hw, bool)
        out[self.region] = self.pixels
        return out
