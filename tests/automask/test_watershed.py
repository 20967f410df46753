"""Maps -> objects, on maps that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed
from tests.pictures import disks, iou

from napari_segment_anything.automask.decoded import candidates, raised
from napari_segment_anything.automask.watershed import Seeds, find_seeds, grown, smoothed
from napari_segment_anything.config import AutoMaskSettings
from napari_segment_anything.inference.instance_maps import InstanceMaps
from napari_segment_anything.training.distance_targets import distance_targets

SPOTS = [(20, 20, 12), (20, 43, 11), (60, 80, 15), (89, 30, 9)]  # two touch, the last is cut
SETTINGS = AutoMaskSettings()


def ideal(labels) -> InstanceMaps:
    return InstanceMaps(*distance_targets(labels))


@pytest.fixture(scope="module")
def truth():
    return disks((90, 110), SPOTS)[1]


def matched(labels, truth):
    """IoU of the best label with each true object."""
    best = []
    for number in range(1, truth.max() + 1):
        inside = truth == number
        found = np.bincount(labels[inside], minlength=2)[1:].argmax() + 1
        best.append(iou(labels == found, inside))
    return best


def test_touching_objects_are_told_apart(truth):
    seeds = find_seeds(ideal(truth), SETTINGS)
    labels = grown(seeds)
    assert seeds.count == len(SPOTS) and sorted(np.unique(labels)) == [0, 1, 2, 3, 4]
    assert min(matched(labels, truth)) > 0.93
    middles = seeds.middles_xy()
    for y, x, _ in SPOTS[:3]:
        assert np.abs(middles - (x, y)).max(axis=1).min() <= 1.5


def test_an_object_carries_its_seeds_number(truth):
    seeds = find_seeds(ideal(truth), SETTINGS)
    labels = grown(seeds)
    at = seeds.middles_xy().astype(int)
    assert labels[at[:, 1], at[:, 0]].tolist() == [1, 2, 3, 4]
    assert seeds.markers[at[:, 1], at[:, 0]].tolist() == [1, 2, 3, 4]


def test_small_objects_go_and_leave_the_others_their_numbers(truth):
    seeds = find_seeds(ideal(truth), SETTINGS)
    labels = grown(seeds)
    areas = np.bincount(labels.ravel())[1:]
    smallest = int(areas.argmin()) + 1
    kept = grown(seeds, least_area=int(areas.min()) + 1)
    assert smallest not in kept and np.array_equal(kept, np.where(labels == smallest, 0, labels))
    assert np.array_equal(grown(seeds, least_area=int(areas.min())), labels)


@pytest.mark.parametrize("seed", range(3))
def test_piece_by_piece_is_one_watershed(seed):
    rng = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(rng.normal(size=(120, 150)), 4.0) * 8 for _ in range(3)]
    maps = InstanceMaps(*(np.clip(0.5 + n, 0, 1).astype(np.float32) for n in noise))
    seeds = find_seeds(maps, SETTINGS)
    told = []
    labels = grown(seeds, progress=lambda *at: told.append(at))
    whole = watershed(seeds.depth, seeds.markers, mask=seeds.foreground)
    assert seeds.count > 10 and np.array_equal(labels, whole)
    assert told == [(i, len(told)) for i in range(1, len(told) + 1)] and told


def test_a_seed_over_a_corner_and_pieces_without_one():
    foreground = np.zeros((6, 8), bool)
    foreground[0:3, 0:3] = foreground[3:6, 3:6] = foreground[0, 6:] = True  # joined by a corner
    markers = np.zeros((6, 8), np.int32)
    markers[2, 2] = markers[3, 3] = 1
    seeds = Seeds(markers, np.zeros((6, 8), np.float32), foreground)
    assert np.array_equal(grown(seeds), np.where(np.indices((6, 8))[1] < 6, foreground, 0))


def test_foreground_without_a_seed_is_background(truth):
    maps = ideal(truth)
    maps.centre_distance[truth == 3] = 0.8
    labels = grown(find_seeds(maps, SETTINGS))
    assert labels.max() == 3 and not labels[truth == 3].any()


def test_thresholds(truth):
    maps = ideal(truth)
    faint = InstanceMaps(maps.foreground * 0.4, maps.centre_distance, maps.boundary_distance)
    assert grown(find_seeds(faint, SETTINGS)).max() == 0
    assert grown(find_seeds(faint, AutoMaskSettings(foreground_threshold=0.2))).max() == 4
    for strict in ({"center_distance_threshold": 0.0}, {"boundary_distance_threshold": 0.0}):
        assert find_seeds(maps, AutoMaskSettings(**strict)).count == 0
    wide = AutoMaskSettings(center_distance_threshold=1.0, boundary_distance_threshold=1.0)
    assert find_seeds(maps, wide).count == 3  # the two that touch are one seed


def test_a_field_without_objects():
    empty = ideal(np.zeros((30, 40), np.int32))
    seeds = find_seeds(empty, SETTINGS)
    labels = grown(seeds, least_area=10)
    assert labels.shape == (30, 40) and labels.max() == 0
    assert seeds.middles_xy().shape == (0, 2)
    assert len(candidates(labels, seeds.middles_xy(), empty, SETTINGS)) == 0


def test_the_middle_of_a_seed_lies_in_it_and_off_the_images_edge():
    markers = np.zeros((40, 40), np.int32)
    markers[:, :9], markers[:, 3:9][5:35] = 1, 0  # a bracket at the left edge
    seeds = find_seeds(ideal(np.zeros((40, 40), np.int32)), SETTINGS)
    seeds = Seeds(markers, seeds.depth, seeds.foreground)
    x, y = seeds.middles_xy()[0]
    assert markers[int(y), int(x)] == 1 and x >= 2 and min(y, 39 - y) >= 2


def test_smoothing_mirrors_and_leaves_zero_alone():
    spike = np.zeros((9, 9), np.float32)
    spike[4, 4] = 1
    assert smoothed(spike, 0.0) is spike
    line = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    line /= line.sum()  # cut at three sigma
    assert np.allclose(smoothed(spike, 1.0)[1:8, 1:8], np.outer(line, line), atol=1e-7)
    assert smoothed(spike, 1.0)[0, 4] == 0
    edge = np.zeros((9, 1), np.float32)
    edge[1] = 1  # mirrored about the edge pixel's middle it comes back to the edge
    assert smoothed(edge, 1.0)[0, 0] == pytest.approx(2 * line[2], abs=1e-6)


def test_candidates_carry_what_other_masks_carry(truth):
    maps = ideal(truth)
    maps.foreground[truth == 2] = 0.6
    seeds = find_seeds(maps, SETTINGS)
    labels = grown(seeds)
    found = candidates(labels, seeds.middles_xy(), maps, SETTINGS)
    assert len(found) == 4
    for i, number in enumerate([1, 2, 3, 4]):
        inside = labels == number
        ys, xs = inside.nonzero()
        assert np.array_equal(found.masks[i].full(labels.shape), inside)
        assert found.boxes[i].tolist() == [xs.min(), ys.min(), xs.max(), ys.max()]
        assert found.iou[i] == pytest.approx(maps.foreground[inside].mean(), abs=1e-6)
        stays = maps.foreground[inside] > 1 / (1 + np.exp(-1))
        assert found.stability[i] == pytest.approx(stays.mean(), abs=1e-6)
        x, y = found.points_xy[i]
        assert inside[int(y), int(x)] and found.crops[i] == (0, 0, 110, 90)
    faintest = int(np.argmin(found.iou)) + 1
    assert iou(labels == faintest, truth == 2) > 0.8


def test_gaps_in_the_numbers_are_no_candidates(truth):
    maps = ideal(truth)
    seeds = find_seeds(maps, SETTINGS)
    labels = grown(seeds)
    labels[labels == 2] = 0
    found = candidates(labels, seeds.middles_xy(), maps, SETTINGS)
    assert len(found) == 3 and len(candidates(labels * 0, seeds.middles_xy(), maps, SETTINGS)) == 0


def test_a_probability_a_logit_higher():
    assert raised(0.5, 1.0) == pytest.approx(1 / (1 + np.exp(-1)))
    assert raised(0.3, 0.0) == pytest.approx(0.3)
    assert (raised(0.0, 1.0), raised(1.0, 1.0)) == (0.0, 1.0)
