"""Labelled images made worse, as microscopes, cameras and file formats do."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from ..io.labelled import LabelledImage

Rng = np.random.Generator
Corruption = Callable[[LabelledImage, Rng], LabelledImage]

NOISE_PART = 0.1
BLUR_PX = 2.0
CAMERA_OFFSET, CAMERA_SPAN = 100, 4000


def corrupted(image: LabelledImage, name: str, seed: int = 0) -> LabelledImage:
    """``image`` after the corruption ``name`` of `CORRUPTIONS`; the same for the same seed.

    Raises:
        ValueError: an unknown name.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"Expected a corruption out of {', '.join(CORRUPTIONS)}, got {name!r}.")
    rng = np.random.default_rng((seed, zlib.crc32(image.name.encode())))
    return CORRUPTIONS[name](image, rng)


def _sixteen_bit(image: LabelledImage, _rng: Rng) -> LabelledImage:
    """As a camera of 12 bits writes it: an offset, and far from all that 16 bits hold."""
    low, high = _range(image.pixels)
    unit = (image.pixels.astype(np.float64) - low) / (high - low)
    return replace(image, pixels=np.rint(CAMERA_OFFSET + CAMERA_SPAN * unit).astype(np.uint16))


def _inverted(image: LabelledImage, _rng: Rng) -> LabelledImage:
    low, high = _range(image.pixels)
    return _with(image, low + high - image.pixels.astype(np.float64))


def _noisy(image: LabelledImage, rng: Rng) -> LabelledImage:
    """Gaussian noise of a tenth of the range of values."""
    low, high = _range(image.pixels)
    noise = rng.normal(0, NOISE_PART * (high - low), image.pixels.shape)
    return _with(image, image.pixels + noise)


def _blurred(image: LabelledImage, _rng: Rng) -> LabelledImage:
    """Out of focus by two pixels."""
    sigma = (BLUR_PX, BLUR_PX, 0)[: image.pixels.ndim]
    return _with(image, ndimage.gaussian_filter(image.pixels.astype(np.float64), sigma))


def _scaled(factor: float) -> Corruption:
    def scale(image: LabelledImage, _rng: Rng) -> LabelledImage:
        size_hw = tuple(max(1, round(side * factor)) for side in image.labels.shape)
        pixels = resize(image.pixels.astype(np.float64), size_hw, order=1, anti_aliasing=factor < 1)
        labels = resize(
            image.labels, size_hw, order=0, anti_aliasing=False, preserve_range=True
        ).astype(np.int32)
        return replace(_with(image, pixels), labels=labels)

    return scale


CORRUPTIONS: dict[str, Corruption] = {
    "16-bit": _sixteen_bit,
    "inverted": _inverted,
    "noisy": _noisy,
    "blurred": _blurred,
    "half size": _scaled(0.5),
    "double size": _scaled(2.0),
}


def _range(pixels: NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest value, one apart at least."""
    low, high = float(pixels.min()), float(pixels.max())
    return low, max(high, low + 1)


def _with(image: LabelledImage, pixels: NDArray[np.float64]) -> LabelledImage:
    """``image`` with other pixels, in its own type and within what that holds."""
    kind = image.pixels.dtype
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        pixels = np.clip(np.rint(pixels), limits.min, limits.max)
    return replace(image, pixels=pixels.astype(kind))
