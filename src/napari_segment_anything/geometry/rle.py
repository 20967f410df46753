"""Masks in little memory: runs as COCO counts them, column by column, and bits of a rectangle."""

from __future__ import annotations

from dataclasses import dataclass, field
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


def rle_to_coco(rle: Rle) -> dict[str, Any]:
    """Runs -> COCO's compressed form, ``counts`` a string."""
    from pycocotools import mask as coco

    h, w = rle["size"]
    packed: dict[str, Any] = coco.frPyObjects(rle, h, w)
    packed["counts"] = packed["counts"].decode("utf-8")  # bytes do not survive JSON
    return packed


@dataclass(frozen=True)
class LocalMask:
    """A mask that is background outside of a rectangle, of which it keeps the bits.

    ``origin_yx`` is the rectangle's first pixel in the image, ``size_hw`` its size, ``bits`` its
    pixels, eight a byte. A thousand small objects in a large image take the memory of the objects,
    not of a thousand images.
    """

    origin_yx: tuple[int, int]
    size_hw: tuple[int, int]
    bits: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def of(cls, mask: NDArray[np.bool_], origin_yx: tuple[int, int] = (0, 0)) -> LocalMask:
        """(h, w) bool, its first pixel at ``origin_yx``, cut down to its object."""
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, left, cut = 0, 0, mask[:1, :1]
        if len(rows):
            top, left = int(rows[0]), int(cols[0])
            cut = mask[top : rows[-1] + 1, left : cols[-1] + 1]
        origin = (origin_yx[0] + top, origin_yx[1] + left)
        return cls(origin, (cut.shape[0], cut.shape[1]), np.packbits(cut))

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the rectangle covers."""
        (y, x), (h, w) = self.origin_yx, self.size_hw
        return slice(y, y + h), slice(x, x + w)

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """The rectangle, (h, w) bool."""
        h, w = self.size_hw
        return np.unpackbits(self.bits, count=h * w).view(np.bool_).reshape(h, w)

    @property
    def area(self) -> int:
        """Pixels of the object."""
        return int(np.count_nonzero(self.pixels))

    def full(self, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask in an image of ``size_hw`` pixels."""
        out = np.zeros(size_hw, bool)
        out[self.region] = self.pixels
        return out
