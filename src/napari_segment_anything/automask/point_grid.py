"""Where the prompts of automatic segmentation are: grids of points, and crops of the image."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def point_grid(points_per_side: int) -> NDArray[np.float64]:
    """n * n points (x, y) in the unit square, in the middle of n x n equal cells, row by row."""
    margin = 1 / (2 * points_per_side)
    at = np.linspace(margin, 1 - margin, points_per_side)
    return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)


def layer_point_grids(
    points_per_side: int, crop_layers: int, downscale: int
) -> list[NDArray[np.float64]]:
    """A grid for the image and for each crop layer, coarser by ``downscale`` a layer."""
    sides = [max(1, int(points_per_side / downscale**i)) for i in range(crop_layers + 1)]
    return [point_grid(side) for side in sides]


def crop_boxes(
    size_hw: tuple[int, int], layers: int, overlap_ratio: float
) -> tuple[list[Box], list[int]]:
    """The image, and 4^i overlapping crops of it for each layer i, as (x0, y0, x1, y1).

    Returns the boxes and the layer of each.
    """
    h, w = size_hw
    boxes: list[Box] = [(0, 0, w, h)]
    layer_of = [0]
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(h, w) * (2 / per_side))
        crop_w, crop_h = (
            math.ceil((overlap * (per_side - 1) + length) / per_side) for length in (w, h)
        )
        starts_x, starts_y = (
            [int((crop - overlap) * i) for i in range(per_side)] for crop in (crop_w, crop_h)
        )
        for x0, y0 in product(starts_x, starts_y):
            if x0 < w and y0 < h:  # a tiny image has fewer crops than its layer has places
                boxes.append((x0, y0, min(x0 + crop_w, w), min(y0 + crop_h, h)))
                layer_of.append(layer)
    return boxes, layer_of
