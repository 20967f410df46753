"""Which points are asked: seeds first, then what they left of the grid."""

from __future__ import annotations

import numpy as np
import torch

from napari_segment_anything.automask.generator import (
    SURE_IOU,
    Candidates,
    EncodedCrop,
    asked_points,
)
from napari_segment_anything.automask.point_grid import point_grid
from napari_segment_anything.geometry.rle import LocalMask

CROP = (10, 20, 50, 60)
GRID = point_grid(8) * 40


def never(points):
    raise AssertionError


def add(found, y, x, side, iou):
    """A square of the crop, in pixels of the image."""
    found.masks.append(LocalMask.of(np.ones((side, side), bool), (y + CROP[1], x + CROP[0])))
    found.iou.append(iou)
    found.boxes.append(torch.zeros(4))
    found.stability.append(1.0)
    found.points_xy.append((0.0, 0.0))
    found.crops.append(CROP)


def test_without_seeds_all_of_the_grid_is_asked_in_order():
    asked = list(asked_points(EncodedCrop(never), GRID, Candidates(), CROP, 10))
    assert np.array_equal(np.concatenate([points for points, _ in asked]), GRID)
    assert [len(points) for points, _ in asked] == [10] * 6 + [4]
    assert sum(share for _, share in asked) == len(GRID)


def test_seeds_in_a_sure_mask_and_grid_points_in_any_are_left_out():
    seeds = np.array([[5.0, 5.0], [6.0, 6.0], [30.0, 30.0], [31.0, 31.0]])
    found, asked, told = Candidates(), [], 0.0
    for points, share in asked_points(EncodedCrop(never, seeds), GRID, found, CROP, 1):
        told += share
        for x, y in points.tolist():
            asked.append((x, y))
            if (x, y) in {(5.0, 5.0), (6.0, 6.0)}:
                add(found, 0, 0, 12, SURE_IOU)
            elif x in (30.0, 31.0):
                add(found, 24, 24, 12, SURE_IOU - 0.1)
    first = asked[:3]
    assert sum(x < 10 for x, _ in first) == 1  # the other seed of the sure mask was left out
    assert {(30.0, 30.0), (31.0, 31.0)} <= set(first)
    rest = {(x, y) for x, y in map(tuple, GRID.tolist())}
    expected = {(x, y) for x, y in rest if not (x < 12 and y < 12)}
    expected = {(x, y) for x, y in expected if not (24 <= x < 36 and 24 <= y < 36)}
    assert set(asked[3:]) == expected and abs(told - len(GRID)) < 1e-6


def test_background_is_not_asked_and_progress_is_whole():
    left = EncodedCrop(never, np.zeros((0, 2)), lambda points: points[:, 0] < 20)
    asked = list(asked_points(left, GRID, Candidates(), CROP, 64))
    assert [len(points) for points, _ in asked] == [32] and asked[0][1] == len(GRID)
    nothing = EncodedCrop(never, None, lambda points: np.zeros(len(points), bool))
    asked = list(asked_points(nothing, GRID, Candidates(), CROP, 64))
    assert [(len(points), share) for points, share in asked] == [(0, len(GRID))]
