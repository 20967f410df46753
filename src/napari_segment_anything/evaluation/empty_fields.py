"""Fields without any object: whatever is found in them is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Rng = np.random.Generator
Field = NDArray[np.uint16]


def empty_field(kind: str, seed: int, size_hw: tuple[int, int] = (256, 256)) -> Field:
    """(H, W) uint16, a field of `FIELDS` as a camera sees it; the same for the same seed.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in FIELDS:
        raise ValueError(f"Expected an empty field out of {', '.join(FIELDS)}, got {kind!r}.")
    rng = np.random.default_rng((list(FIELDS).index(kind), seed))
    return FIELDS[kind](rng, size_hw)


def _dark_noise(rng: Rng, size_hw: tuple[int, int]) -> Field:
    """A closed shutter: an offset, read noise, and a few counts of dark current."""
    counts = rng.uniform(90, 110) + rng.normal(0, rng.uniform(2, 6), size_hw)
    return _camera(counts + rng.poisson(rng.uniform(0.5, 3), size_hw))


def _uneven_background(rng: Rng, size_hw: tuple[int, int]) -> Field:
    """An empty slide: light that falls off from a bright spot and to one side, with shot noise."""
    h, w = size_hw
    y, x = np.mgrid[:h, :w].astype(np.float64)
    spot_y, spot_x = rng.uniform(0, h), rng.uniform(0, w)
    radius = rng.uniform(0.6, 1.2) * max(h, w)
    spot = np.exp(-((y - spot_y) ** 2 + (x - spot_x) ** 2) / (2 * radius**2))
    slope = rng.uniform(-0.4, 0.4) * y / h + rng.uniform(-0.4, 0.4) * x / w
    light = rng.uniform(300, 1500) * (1.2 + spot + slope)
    return _camera(100 + rng.poisson(light))


def _blurred_texture(rng: Rng, size_hw: tuple[int, int]) -> Field:
    """Something far out of focus: soft clouds of no shape, with shot noise."""
    clouds = ndimage.gaussian_filter(rng.standard_normal(size_hw), rng.uniform(12, 30), mode="wrap")
    light = rng.uniform(300, 1500) * (1 + 0.3 * (clouds - clouds.mean()) / clouds.std())
    return _camera(100 + rng.poisson(np.maximum(light, 0)))


FIELDS: dict[str, Callable[[Rng, tuple[int, int]], Field]] = {
    "dark noise": _dark_noise,
    "uneven background": _uneven_background,
    "blurred texture": _blurred_texture,
}


def _camera(counts: NDArray[np.floating]) -> Field:
    return np.asarray(np.clip(np.rint(counts), 0, 65535), np.uint16)
