"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden file beside ``path`` to write to; it takes the place of ``path`` when all is well.

    What stops the writing, Ctrl-C too, leaves ``path`` as it was, and nothing else behind.

    Raises:
        OSError: the folder cannot be written to.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_tiff(path: Path, pixels: NDArray[Any]) -> None:
    """Write labels (H, W), or an image (H, W) or (H, W, 3), as a compressed TIFF.

    Raises:
        OSError: the folder cannot be written to.
    """
    photometric = "rgb" if pixels.ndim == 3 and pixels.shape[2] in (3, 4) else "minisblack"
    with whole_file(path) as partial, partial.open("wb") as stream:
        tifffile.imwrite(stream, pixels, compression="zlib", photometric=photometric)
