"""Any image plane -> the (H, W, 3) uint8 picture that an encoder sees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

PERCENTILES = (0.1, 99.9)


def checked_image(image: ArrayLike) -> NDArray[Any]:
    """The image as an array, (H, W), (H, W, 3) or (H, W, 4) of real numbers, none of it empty.

    Raises:
        ValueError: what was expected, what came, and what to do.
    """
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected an image, got a {type(image).__name__} that is no array ({error})."
        ) from error
    is_plane = array.ndim == 2
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (is_plane or is_colour):
        raise ValueError(
            f"Expected an image (H, W), (H, W, 3) or (H, W, 4), got shape {array.shape}; "
            "choose one plane or one channel."
        )
    if 0 in array.shape:
        raise ValueError(f"Expected an image of at least 1 x 1 pixels, got shape {array.shape}.")
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"Expected bool, integer or float pixels, got {array.dtype}; convert the image first."
        )
    return array


def stretch_limits(array: NDArray[Any]) -> tuple[float, float]:
    """0.1 and 99.9 percentiles of the finite values; (0, 1) if there are none."""
    values = array[np.isfinite(array)] if array.dtype.kind == "f" else array.reshape(-1)
    if values.size == 0:
        return 0.0, 1.0
    # Order statistics of a large image barely move under a regular sample of a million pixels,
    # but then the answer would depend on the size; sorting 4 Mpx takes 0.05 s.
    low, high = np.percentile(values.astype(np.float64, copy=False), PERCENTILES)
    return float(low), float(high)


def to_rgb8(
    image: ArrayLike, contrast_limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """(H, W), (H, W, 3) or (H, W, 4) of any real type -> (H, W, 3) uint8.

    uint8 colour goes through unchanged. Everything else is stretched linearly to 0..255 by
    ``contrast_limits`` (low, high), else by the 0.1 and 99.9 percentiles of the finite values:
    one stretch for the whole image. NaN and -inf become 0, +inf 255; alpha is dropped.

    Raises:
        ValueError: if it cannot be an image, or the limits are not finite.
    """
    array = checked_image(image)
    if array.ndim == 3:
        array = array[..., :3]
        if array.dtype == np.uint8:
            return np.ascontiguousarray(array)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    given = contrast_limits is not None
    low, high = _checked_limits(contrast_limits) if given else stretch_limits(array)
    scaled = _stretch(array, low, high)
    if scaled.ndim == 2:
        scaled = np.repeat(scaled[..., None], 3, axis=2)
    return np.ascontiguousarray(scaled)


def _checked_limits(limits: Any) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in limits)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected contrast_limits (low, high), got {limits!r}.") from error
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"Expected finite contrast_limits with low <= high, got {limits!r}.")
    return low, high


def _stretch(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    values = array.astype(np.float64)
    if high <= low:  # a constant image: below is 0, above is 255, the constant itself is 0
        out = np.where(values > high, 255.0, 0.0)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            # Halves, because the span of the largest floats is no float.
            out = (values / 2 - low / 2) / (high / 2 - low / 2) * 255.0
    out = np.nan_to_num(out, nan=0.0, posinf=255.0, neginf=0.0)
    return np.asarray(np.rint(np.clip(out, 0.0, 255.0)), np.uint8)
