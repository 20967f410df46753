"""Images out of files, labels into files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

_TIFF = (".tif", ".tiff")
_AS_THEY_ARE = ("L", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B")


def read_image(path: Path) -> NDArray[Any]:
    """The pixels of a PNG, TIFF or JPEG file, (H, W) or (H, W, channels).

    Raises:
        ValueError: no such file, or none that can be read.
    """
    if not path.is_file():
        raise ValueError(f"Expected an image at {path}, found no such file.")
    try:
        if path.suffix.lower() in _TIFF:
            return np.asarray(tifffile.imread(path))
        with Image.open(path) as image:
            return np.asarray(image if image.mode in _AS_THEY_ARE else image.convert("RGB"))
    except Exception as error:  # readers of damaged files raise whatever they stumble over
        raise ValueError(
            f"Expected a PNG, TIFF or JPEG image at {path}, could not read it ({error})."
        ) from error


def write_labels(path: Path, labels: NDArray[np.int32]) -> None:
    """Write (H, W) labels as a compressed TIFF; what stops it leaves no partial file.

    Raises:
        OSError: the folder cannot be written to.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as stream:
            tifffile.imwrite(stream, labels, compression="zlib")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
