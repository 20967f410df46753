"""Pixels and labels out of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg")
_AS_THEY_ARE = ("L", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B")


def read_image(path: Path) -> NDArray[Any]:
    """The pixels of a PNG, TIFF or JPEG file, (H, W) or (H, W, channels).

    Raises:
        ValueError: no such file, or none that can be read.
    """
    return _read(path, _AS_THEY_ARE)


def read_labels(path: Path) -> NDArray[np.int32]:
    """The labels of a PNG or TIFF file, (H, W) int32, 0 background.

    An indexed PNG's labels are its indices. Ids keep their numbers as long as int32 holds them,
    else they are counted anew in their order.

    Raises:
        ValueError: no such file, none that can be read, or no labels in it.
    """
    return checked_labels(_read(path, (*_AS_THEY_ARE, "P", "1")), str(path))


def checked_labels(labels: NDArray[Any], what: str) -> NDArray[np.int32]:
    """(H, W) whole numbers from 0 of any type -> (H, W) int32; ``what`` names them in errors.

    Raises:
        ValueError: another shape, negative numbers or fractions.
    """
    if labels.ndim != 2:
        raise ValueError(
            f"Expected labels (H, W), one number a pixel, in {what}, got shape {labels.shape}."
        )
    if labels.dtype.kind not in "buif":
        raise ValueError(f"Expected whole numbers as labels in {what}, got {labels.dtype}.")
    if labels.dtype.kind in "if" and not (labels >= 0).all():
        raise ValueError(f"Expected labels from 0 in {what}, got {labels.min()} among them.")
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.rint(labels))).all():
        raise ValueError(f"Expected whole numbers as labels in {what}, got fractions among them.")
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        ids, numbers = np.unique(labels, return_inverse=True)
        labels = numbers.reshape(labels.shape) + int(ids[0] > 0)
    return labels.astype(np.int32)


def _read(path: Path, modes: tuple[str, ...]) -> NDArray[Any]:
    if not path.is_file():
        raise ValueError(f"Expected an image at {path}, found no such file.")
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            return np.asarray(tifffile.imread(path))
        with Image.open(path) as image:
            return np.asarray(image if image.mode in modes else image.convert("RGB"))
    except Exception as error:  # readers of damaged files raise whatever they stumble over
        raise ValueError(
            f"Expected a PNG, TIFF or JPEG image at {path}, could not read it ({error})."
        ) from error
