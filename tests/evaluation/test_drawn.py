"""Corruptions, empty fields and baselines: drawn, so that the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from tests.pictures import disks, random_model

from napari_segment_anything.automask.api import auto_mask
from napari_segment_anything.evaluation import baselines
from napari_segment_anything.evaluation.baselines import otsu_watershed, plain_grid
from napari_segment_anything.evaluation.corruptions import CORRUPTIONS, corrupted
from napari_segment_anything.evaluation.empty_fields import FIELDS, empty_field
from napari_segment_anything.evaluation.instances import score_instances
from napari_segment_anything.io.labelled import LabelledImage

PIXELS, LABELS = disks((60, 80), [(15, 15, 9), (30, 55, 12), (48, 20, 7)])
GREY = LabelledImage("grey", PIXELS, LABELS * 7)
COLOUR = LabelledImage("colour", np.stack([PIXELS, PIXELS // 2, PIXELS // 4], -1), LABELS)
FLOAT = LabelledImage("float", (PIXELS / 255).astype(np.float32), LABELS)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("image", [GREY, COLOUR, FLOAT], ids=lambda i: i.name)
def test_a_corruption_keeps_type_objects_and_is_repeated_by_its_seed(image, name):
    worse = corrupted(image, name)
    assert worse.pixels.dtype == (np.uint16 if name == "16-bit" else image.pixels.dtype)
    assert worse.pixels.shape[2:] == image.pixels.shape[2:]
    assert worse.pixels.shape[:2] == worse.labels.shape and worse.labels.dtype == np.int32
    assert set(np.unique(worse.labels)) == set(np.unique(image.labels))
    np.testing.assert_array_equal(worse.pixels, corrupted(image, name).pixels)
    inside, outside = (
        worse.pixels[where].mean() for where in (worse.labels > 0, worse.labels == 0)
    )
    assert (inside > outside) == (name != "inverted")


def test_corruptions_do_what_they_are_called():
    low, high = int(PIXELS.min()), int(PIXELS.max())
    sixteen = corrupted(GREY, "16-bit").pixels
    assert (sixteen.min(), sixteen.max()) == (100, 4100)
    np.testing.assert_allclose((sixteen - 100.0) / 4000, (PIXELS - low) / (high - low), atol=2e-4)
    np.testing.assert_array_equal(corrupted(GREY, "inverted").pixels, low + high - PIXELS)
    noise = corrupted(FLOAT, "noisy").pixels - FLOAT.pixels
    assert noise.std() == pytest.approx(0.1 * 1.0, rel=0.05)  # of the range, one at least
    assert (
        corrupted(GREY, "noisy", seed=1).pixels.tolist() != corrupted(GREY, "noisy").pixels.tolist()
    )
    steps = [
        np.abs(np.diff(i.pixels.astype(int))).max() for i in (GREY, corrupted(GREY, "blurred"))
    ]
    assert steps[1] < steps[0] / 3
    half, double = corrupted(GREY, "half size"), corrupted(GREY, "double size")
    assert half.labels.shape == (30, 40)
    np.testing.assert_array_equal(double.labels, GREY.labels.repeat(2, 0).repeat(2, 1))
    assert half.pixels.mean() == pytest.approx(PIXELS.mean(), rel=0.02)
    with pytest.raises(ValueError, match="out of 16-bit, inverted"):
        corrupted(GREY, "burnt")


@pytest.mark.parametrize("kind", FIELDS)
def test_empty_fields_are_seeded_and_differ(kind):
    field = empty_field(kind, 3, (64, 96))
    assert field.dtype == np.uint16 and field.shape == (64, 96)
    np.testing.assert_array_equal(field, empty_field(kind, 3, (64, 96)))
    assert (field != empty_field(kind, 4, (64, 96))).mean() > 0.3
    with pytest.raises(ValueError, match="out of dark noise"):
        empty_field("full", 0)


def test_empty_fields_look_as_they_are_called():
    def smooth_part(field):
        """How much of the variance is in steps larger than 8 x 8 pixels."""
        coarse = field[:64, :64].astype(float).reshape(8, 8, 8, 8).mean((1, 3))
        return coarse.var() / field.var()

    for seed in range(5):
        noise, uneven, texture = (empty_field(kind, seed, (64, 64)) for kind in FIELDS)
        assert smooth_part(noise) < 0.1 and 90 < noise.mean() < 120
        assert smooth_part(uneven) > 0.25 and smooth_part(texture) > 0.5


@pytest.mark.parametrize("invert", [False, True])
def test_otsu_with_a_watershed_finds_apart_and_touching_disks(invert):
    pixels, labels = disks((90, 120), [(25, 25, 12), (25, 45, 12), (65, 80, 15)])
    found = otsu_watershed(255 - pixels if invert else pixels)
    scores = score_instances([found], [labels])
    assert (scores.found, scores.matched) == (3, 3) and scores.average_precision[0.8] == 1
    assert otsu_watershed(np.full((20, 20), 7, np.uint8)).max() == 0


def test_the_plain_grid_asks_every_point_with_the_models_thresholds(monkeypatch):
    model = random_model(least_foreground=0.4, automask={"pred_iou_thresh": 0.3})
    asked = []

    def auto(model, pixels, **settings):
        asked.append((model.card.least_foreground, dict(model.card.automask), settings))
        return auto_mask(model, pixels, **{**settings, "points_per_side": 2})

    monkeypatch.setattr(baselines, "auto_mask", auto)
    assert plain_grid(model, PIXELS).shape == PIXELS.shape
    assert asked == [(0.0, {"pred_iou_thresh": 0.3}, {"points_per_side": 32})]
