"""What the automatic decoder is taught, on labels small enough to compute by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_segment_anything.modeling.unetr import UnetrDecoder
from napari_segment_anything.training.distance_targets import (
    dice_loss,
    distance_loss,
    distance_targets,
)


def square(side=5, size=9):
    labels = np.zeros((size, size), np.int32)
    start = (size - side) // 2
    labels[start : start + side, start : start + side] = 7
    return labels


def test_a_square():
    foreground, centre, boundary = distance_targets(square())
    inside = square() > 0
    assert np.array_equal(foreground, inside.astype(np.float32))
    rows, cols = np.indices((9, 9)) - 4
    assert centre[inside] == pytest.approx(np.hypot(rows, cols)[inside] / np.hypot(2, 2), abs=1e-6)
    depth = 2 - np.maximum(abs(rows), abs(cols))  # 0 on the outermost pixels, 2 in the middle
    assert boundary[inside] == pytest.approx(1 - depth[inside] / 2, abs=1e-6)
    assert (centre[~inside] == 1).all() and (boundary[~inside] == 1).all()


def test_each_object_is_measured_by_itself():
    labels = np.zeros((40, 60), np.int32)
    labels[2:37, 2:37], labels[10:13, 45:48] = 1, 2
    _, centre, boundary = distance_targets(labels)
    for number in (1, 2):
        inside = labels == number
        assert centre[inside].min() == 0 and centre[inside].max() == pytest.approx(1, abs=1e-6)
        assert boundary[inside].min() == 0 and boundary[inside].max() == pytest.approx(1, abs=1e-6)


def test_a_centre_beside_its_object_moves_into_it():
    ring = np.zeros((31, 31), np.int32)
    y, x = np.mgrid[:31, :31]
    radius = np.hypot(y - 15, x - 15)
    ring[(radius < 14) & (radius > 6)] = 1
    _, centre, boundary = distance_targets(ring)
    at = np.argwhere(centre == 0)
    assert len(at) == 1 and ring[tuple(at[0])] == 1
    assert boundary[tuple(at[0])] == pytest.approx(0, abs=1e-6)


def test_objects_that_touch_have_a_boundary_between_them():
    labels = np.zeros((11, 20), np.int32)
    labels[:, :10], labels[:, 10:] = 1, 2
    _, _, boundary = distance_targets(labels)
    assert (boundary[:, 9:11] == pytest.approx(1, abs=1e-6)) and (boundary[:, [0, 19]] == 0).all()


def test_the_image_may_be_one_object_or_none():
    full = distance_targets(np.ones((5, 7), np.int32))
    assert (full[0] == 1).all() and (full[2] == 0).all() and full[1][2, 3] == 0
    none = distance_targets(np.zeros((5, 7), np.int32))
    assert (none[0] == 0).all() and (none[1:] == 1).all() and none.dtype == np.float32


def test_small_parts_and_parts_of_one_label():
    labels = np.zeros((12, 20), np.int32)
    labels[1:7, 1:7], labels[1:4, 12:15] = 4, 4
    both, large = distance_targets(labels), distance_targets(labels, least_area=10)
    assert both[1][2, 13] == 0 and both[0].sum() == 45 and large[0].sum() == 36
    assert (large[1:, 1:4, 12:15] == 1).all()
    assert np.array_equal(large[:, :, :10], both[:, :, :10])


@pytest.mark.parametrize("labels", [np.zeros((3, 4, 5), np.int32), np.zeros((3, 4))])
def test_what_are_no_labels(labels):
    with pytest.raises(ValueError, match=r"Expected integer labels \(H, W\)"):
        distance_targets(labels)


def test_dice_by_hand():
    values, targets = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([1.0, 1.0, 1.0])
    assert float(dice_loss(values, targets)) == pytest.approx(1 - 2 * 1.5 / (1.25 + 3))
    assert float(dice_loss(targets, targets)) == pytest.approx(0)
    assert float(dice_loss(torch.zeros(3), torch.zeros(3))) == 1


def test_distances_beyond_objects_are_free():
    targets = torch.from_numpy(distance_targets(square()))[None]
    maps = targets.clone()
    assert float(distance_loss(maps, targets)) == pytest.approx(0, abs=1e-6)
    maps[:, 1:, :2] = 0.3
    assert float(distance_loss(maps, targets)) == pytest.approx(0, abs=1e-6)
    maps[:, 0, :2] = 0.3
    assert float(distance_loss(maps, targets)) > 0.01
    with pytest.raises(ValueError, match=r"two equal shapes \(B, 3, H, W\)"):
        distance_loss(maps[0], targets[0])


def test_a_decoder_learns_a_square():
    torch.manual_seed(0)
    decoder = UnetrDecoder(8, 4)
    features = torch.randn(1, 8, 2, 2)
    targets = torch.from_numpy(distance_targets(square(14, 32)))[None]
    optimiser = torch.optim.Adam(decoder.parameters(), 0.01)
    losses = []
    for _ in range(15):
        loss = distance_loss(decoder(features), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
