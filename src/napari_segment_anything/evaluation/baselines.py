"""What a model is compared with: a classical segmentation, and a plain grid of prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from ..automask.api import auto_mask
from ..inference.model import Model
from ..inference.preprocess import to_rgb8

GRID_POINTS_PER_SIDE = 32
SMOOTH_PX = 1.0
LEAST_DISTANCE_PX = 5
LEAST_AREA_PX = 20


def otsu_watershed(pixels: NDArray[Any]) -> NDArray[np.int32]:
    """(H, W) or (H, W, C) -> (H, W) labels: Otsu's threshold, then a watershed of the distances.

    Objects are what covers less than half of the image, brighter or darker. Each peak of the
    distance to the background, smoothed, ``LEAST_DISTANCE_PX`` from the next, makes an object.
    """
    grey = to_rgb8(pixels).mean(axis=2)
    if grey.min() == grey.max():
        return np.zeros(grey.shape, np.int32)
    smooth = ndimage.gaussian_filter(grey, SMOOTH_PX)
    inside = smooth > threshold_otsu(smooth)
    if inside.mean() > 0.5:
        inside = ~inside
    parts, _ = ndimage.label(ndimage.binary_fill_holes(inside))
    inside = (parts > 0) & (np.bincount(parts.ravel())[parts] >= LEAST_AREA_PX)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), SMOOTH_PX)
    peaks = peak_local_max(
        depth, min_distance=LEAST_DISTANCE_PX, labels=parts * inside, exclude_border=False
    )
    seeds = np.zeros(grey.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-depth, seeds, mask=inside), np.int32)


def plain_grid(model: Model, pixels: NDArray[Any]) -> NDArray[np.int32]:
    """(H, W) labels from a grid of 32 x 32 prompts over the whole image, the paper's way.

    The thresholds stay the model's own; its dense head is not asked where objects are, nor which
    prompts of the grid to leave out.
    """
    blind = replace(model, card=replace(model.card, least_foreground=0.0))
    return auto_mask(blind, pixels, points_per_side=GRID_POINTS_PER_SIDE)[0]
