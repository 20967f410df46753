from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from napari_segment_anything.automask.generator import with_room
from napari_segment_anything.automask.nms import nms
from napari_segment_anything.automask.point_grid import crop_boxes, point_grid
from napari_segment_anything.automask.quality import (
    mask_boxes,
    near_crop_edge,
    stability_scores,
    without_small_regions,
)
from napari_segment_anything.geometry.rle import (
    LocalMask,
    mask_to_rle,
    rle_to_coco,
    rle_to_mask,
)

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(masks)
def test_rle_round_trip_and_cocos_own_reading(mask):
    rle = mask_to_rle(mask)
    assert np.array_equal(rle_to_mask(rle), mask)
    assert sum(rle["counts"][1::2]) == mask.sum() and sum(rle["counts"]) == mask.size
    assert np.array_equal(coco.decode(rle_to_coco(rle)).astype(bool), mask)


@given(masks)
def test_mask_boxes(mask):
    box = mask_boxes(torch.from_numpy(mask)[None])[0].tolist()
    if mask.any():
        y, x = np.nonzero(mask)
        assert box == [x.min(), y.min(), x.max(), y.max()]
    else:
        assert box == [0, 0, 0, 0]


boxes = st.lists(
    st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 9)] * 2, st.integers(0, 3)), max_size=12
)


@given(boxes, st.floats(0.0, 0.9))
@settings(deadline=None)
def test_nms_keeps_the_better_of_two_that_overlap(items, threshold):
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h, _ in items]).float().view(-1, 4)
    scores = torch.tensor([float(s) for *_, s in items])
    kept = nms(corners, scores, threshold).tolist()

    def overlap(i, j):
        a, b = corners[i], corners[j]
        size = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
        area = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()
        return float(size / (area - size))

    ranks = [(-float(scores[i]), i) for i in kept]
    assert ranks == sorted(ranks)
    assert all(overlap(i, j) <= threshold for i in kept for j in kept if i != j)
    for i in set(range(len(items))) - set(kept):
        better = [j for j in kept if (-scores[j], j) < (-scores[i], i)]
        assert any(overlap(i, j) > threshold for j in better)


def test_nms_of_boxes_without_area():
    assert nms(torch.zeros(3, 4), torch.tensor([1.0, 3.0, 2.0]), 0.5).tolist() == [1, 2, 0]


@given(st.integers(1, 40))
def test_grid_points_are_cell_middles(n):
    grid = point_grid(n)
    cells = np.floor(grid * n).astype(int)
    assert sorted(map(tuple, cells)) == [(x, y) for x in range(n) for y in range(n)]
    np.testing.assert_allclose(grid * n - cells, 0.5, atol=1e-9)


@given(st.integers(20, 300), st.integers(20, 300), st.integers(0, 2), st.floats(0.0, 0.5))
def test_crops_cover_the_image(h, w, layers, overlap):
    crops, layer_of = crop_boxes((h, w), layers, overlap)
    assert len(crops) == sum(4**i for i in range(layers + 1))
    for layer in range(layers + 1):
        seen = np.zeros((h, w), bool)
        for (x0, y0, x1, y1), own in zip(crops, layer_of, strict=True):
            assert 0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h
            if own == layer:
                seen[y0:y1, x0:x1] = True
        assert seen.all()


def test_stability():
    logits = torch.tensor([[[3.0, 0.5, -0.5, -3.0]]])
    assert stability_scores(logits, 0.0, 1.0).item() == pytest.approx(1 / 3)
    assert stability_scores(logits, 0.0, 0.1).item() == 1.0


def test_edges_of_crops_but_not_of_the_image():
    found = torch.tensor([[0, 5, 50, 60], [30, 30, 99, 60], [40, 40, 60, 60]])
    near = near_crop_edge(found, (0, 0, 100, 100), (100, 400))
    assert near.tolist() == [False, True, False]


def test_small_regions():
    mask = np.zeros((30, 30), bool)
    mask[2:20, 2:20] = True
    mask[8:10, 8:10] = False
    mask[25:27, 25:27] = True
    clean = without_small_regions(mask, 10)
    expected = np.zeros((30, 30), bool)
    expected[2:20, 2:20] = True
    assert np.array_equal(clean, expected)
    assert without_small_regions(expected, 10) is expected
    only_islands = np.eye(30, dtype=bool)[:, ::-1] & (np.arange(30) < 3)
    assert without_small_regions(only_islands, 50).any()


@given(masks, st.integers(0, 5), st.integers(0, 5))
def test_local_masks_know_their_place(mask, top, left):
    local = LocalMask.of(mask, (top, left))
    whole = np.zeros((mask.shape[0] + top + 3, mask.shape[1] + left + 2), bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    assert np.array_equal(local.full(whole.shape), whole) and local.area == mask.sum()
    assert local.pixels.size <= mask.size


@given(masks, st.integers(1, 30))
def test_tidying_in_place_is_tidying_the_image(mask, least_area):
    local = LocalMask.of(mask)
    part, (y, x) = with_room(local, mask.shape, least_area)
    clean = np.zeros_like(mask)
    clean[y : y + part.shape[0], x : x + part.shape[1]] = without_small_regions(part, least_area)
    assert np.array_equal(clean, without_small_regions(mask, least_area))
