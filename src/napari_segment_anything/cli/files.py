"""Labels into files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..io.writing import whole_file


def write_labels(path: Path, labels: NDArray[np.int32]) -> None:
    """Write (H, W) labels as a compressed TIFF; what stops it leaves no partial file.

    Raises:
        OSError: the folder cannot be written to.
    """
    with whole_file(path) as partial, partial.open("wb") as stream:
        tifffile.imwrite(stream, labels, compression="zlib")
