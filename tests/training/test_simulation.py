from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from skimage.measure import regionprops

from napari_segment_anything.modeling.mask_decoder import Drawn
from napari_segment_anything.modeling.sizes import NANO, build_sam
from napari_segment_anything.training import clicks, losses
from napari_segment_anything.training.data import image_shares
from napari_segment_anything.training.prompting import Answered, Told, answers, round_loss
from napari_segment_anything.training.synthesis import (
    KINDS,
    clouds,
    draw_objects,
    empty_scene,
    paint,
    synthesise,
)

CELL_PX = 2.0


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def masks():
    out = torch.zeros(3, 40, 50, dtype=torch.bool)
    out[0, 5:25, 10:40] = True
    out[1, 30, 7] = True
    out[2, :, 49] = True
    return out


def cell_of(point):
    return int((point[1] + 0.5) // CELL_PX), int((point[0] + 0.5) // CELL_PX)


def test_first_points_lie_in_their_object(masks):
    for seed in range(20):
        points = clicks.first_points(masks, CELL_PX, generator(seed))
        assert all(mask[cell_of(p)] for mask, p in zip(masks, points, strict=True))


def test_corrections_come_from_the_error(masks):
    predicted = torch.zeros_like(masks)
    predicted[0, 5:25, 5:40] = True  # takes too much
    predicted[2] = masks[2]  # perfect
    seen = set()
    for seed in range(20):
        points, labels = clicks.correction_points(predicted, masks, CELL_PX, generator(seed))
        assert predicted[0][cell_of(points[0])] and not masks[0][cell_of(points[0])]
        assert masks[1][cell_of(points[1])] and masks[2][cell_of(points[2])]
        assert labels.tolist() == [0, 1, 1]
        seen.add(cell_of(points[0]))
    assert len(seen) > 5


def test_boxes(masks):
    boxes = clicks.tight_boxes(masks, CELL_PX)
    assert boxes.tolist() == [[20, 10, 80, 50], [14, 60, 16, 62], [98, 0, 100, 80]]
    large = torch.tensor([[0.0, 0, 1000, 1000]]).repeat(500, 1)
    moved = (clicks.noised_boxes(large, generator()) - large).abs()
    assert moved.max() <= 20 and 10 < moved.mean() < 20
    small = torch.tensor([[0.0, 0, 30, 30]]).repeat(2000, 1)
    noise = clicks.noised_boxes(small, generator()) - small
    assert noise.std() == pytest.approx(3.0, rel=0.05)
    parts = torch.tensor([[0.0], [0.02]]).repeat(1000, 1)
    tight, loose = (clicks.noised_boxes(small, generator(), parts) - small).view(-1, 2, 4).unbind(1)
    assert (tight == 0).all() and loose.std() == pytest.approx(0.6, rel=0.05)


def test_losses_prefer_the_truth(masks):
    true = masks.float()
    right, wrong = true * 20 - 10, true * -20 + 10
    assert (losses.mask_loss(right, true) < 0.05).all()
    assert (losses.mask_loss(wrong, true) > 1).all()
    assert losses.mask_iou(right, true).tolist() == [1, 1, 1]
    assert losses.mask_iou(wrong, true).tolist() == [0, 0, 0]
    half = torch.zeros(40, 50)
    half[5:15, 10:40] = 20
    assert losses.mask_iou(half - 10, true[0]).item() == pytest.approx(0.5)


def test_small_objects_weigh_as_much_as_large_ones():
    true = torch.zeros(2, 128, 128)
    true[0, 60:66, 60:66] = 1
    true[1, 20:110, 20:110] = 1
    empty = losses.balanced_bce(torch.full((2, 128, 128), -4.0), true)
    assert empty.max() / empty.min() < 6  # per pixel of the window it would be over 100


def test_dense_targets():
    labels = torch.zeros(1, 20, 20, dtype=torch.int64)
    labels[0, 2:18, 2:10] = 1
    labels[0, 2:18, 10:18] = 2
    foreground, contact, centre = losses.dense_targets(labels)[0]
    assert torch.equal(foreground > 0, labels[0] > 0)
    assert contact[10, 9] == contact[10, 10] == 1 and contact[10, 5] == 0 and contact[0, 0] == 0
    assert centre[0, 0] == 0 and centre[10, 9] == 0.25  # the border is 1 deep, the middle 4
    assert centre[10, 5:7].tolist() == [1, 1] and centre[10, 3] == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_objects(kind):
    labels = draw_objects(np.random.default_rng(3), (128, 160), kind)
    assert labels.shape == (128, 160) and labels.max() >= 1
    assert 0 < (labels > 0).mean() < 1


def test_synthesis_is_reproduced_by_its_seed():
    a, b = (synthesise(np.random.default_rng(5), (96, 96)) for _ in range(2))
    assert np.array_equal(a.image, b.image) and np.array_equal(a.labels, b.labels)
    other = synthesise(np.random.default_rng(6), (96, 96))
    assert not np.array_equal(a.image, other.image)


def test_some_scenes_are_flat_and_some_objects_have_corners():
    labels = np.zeros((60, 60), np.int32)
    labels[10:30, 10:30], labels[35:50, 20:55] = 1, 2
    painted = [paint(np.random.default_rng(seed), labels) for seed in range(60)]
    tones = [len(np.unique(p.reshape(-1, 3), axis=0)) for p in painted]
    flat = [n for n in tones if n <= 3]
    assert 5 < len(flat) < 25 and set(flat) == {2, 3} and max(tones) > 100
    full = []
    for seed in range(30):
        drawn = draw_objects(np.random.default_rng(seed), (200, 200), "blobs")
        full += [r.solidity * r.area / r.area_bbox for r in regionprops(drawn) if r.area > 300]
    assert np.quantile(full, 0.98) > 0.85 > np.median(full)  # a disk fills 0.79 of its rectangle


def test_clouds_are_as_wide_as_asked_for():
    for scale in (3.0, 12.0):
        field = clouds(np.random.default_rng(0), (300, 200), scale)
        assert field.shape == (300, 200)
        assert abs(field.mean()) < 1e-4 and field.std() == pytest.approx(1, abs=1e-3)
        apart = round(2 * scale)  # white noise under a Gaussian: exp(-d^2 / 4 sigma^2)
        alike = float((field[apart:] * field[:-apart]).mean())
        assert alike == pytest.approx(np.exp(-1), abs=0.15)


def test_empty_scenes_have_light_and_no_object():
    scenes = [empty_scene(np.random.default_rng(seed), (64, 80)) for seed in range(30)]
    assert all(s.image.shape == (64, 80, 3) and not s.labels.any() for s in scenes)
    assert min(s.image.std() for s in scenes) > 5 and max(np.ptp(s.image) for s in scenes) > 200
    coloured = [np.ptp(s.image.astype(int), axis=2).max() > 8 for s in scenes]
    assert 0 < sum(coloured) < 30


def test_rare_kinds_are_drawn_more_often_than_they_come():
    shares = image_shares(["a"] * 16 + ["b"] * 4, [3] * 20)
    assert shares.sum() == pytest.approx(1) and shares[:16].sum() == pytest.approx(2 / 3)
    assert len(image_shares([], [])) == 0


def test_of_a_kind_every_object_is_drawn_as_often():
    shares = image_shares(["a", "b", "a", "a"], [30, 7, 10, 0])
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(3 * shares[2]) == pytest.approx(30 * shares[3])
    assert shares[1] == pytest.approx((1 - shares[1]) / np.sqrt(3))


def test_the_shown_mask_is_what_the_decoder_rates_highest_once_drawn(monkeypatch):
    sam = build_sam(NANO)
    decoder = sam.mask_decoder
    iou = torch.tensor([[0.9, 0.8, 0.1, 0.2]]).expand(2, 4)
    drawn = Drawn(torch.randn(2, 4, 8, 8), iou, torch.zeros(2, 128))
    again = torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    monkeypatch.setattr(decoder, "predict_masks", lambda *_: drawn)
    monkeypatch.setattr(decoder.rater, "forward", lambda token, iou, logits: again)
    one = Told(torch.full((2, 1, 2), 50.0), torch.ones(2, 1, dtype=torch.int64))
    two = one.with_points(torch.full((2, 2), 60.0), torch.zeros(2, dtype=torch.int64))
    image = torch.zeros(2, 128, 32, 32)
    answered = answers(sam, image, one, nullcontext)
    assert answered.shown.tolist() == [3, 1] and answered.rated is again
    corrected = answers(sam, image, two, nullcontext)
    assert corrected.shown.tolist() == [0, 0] and corrected.rated is None
    decoder.rater = None
    answered = answers(sam, image, one, nullcontext)
    assert answered.shown.tolist() == [1, 1] and answered.rated is None


def test_the_mask_that_is_shown_is_trained_beside_the_best(masks):
    true = masks[:1].float()
    logits = torch.zeros(1, 4, 40, 50)
    logits[0, 1] = 4 * true - 2  # the best of the three
    logits.requires_grad_()
    answered = Answered(logits, torch.full((1, 4), 0.5), shown=torch.tensor([2]))
    round_loss(answered, true, torch.tensor([True]), ambiguous=True).backward()
    single, best, shown, other = logits.grad[0].abs().sum((1, 2)).tolist()
    assert best > 0 and shown > 5 * other > 0
    # All three start alike: what the shown one has beside the other is what the single one has.
    assert shown - other == pytest.approx(single, rel=1e-3)
