from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.pictures import disks, random_model

from napari_segment_anything import encode
from napari_segment_anything.inference.noise import MOST_BLUR_PX, NOISY, QUIET, noise_level, quieted
from napari_segment_anything.io.labelled import LabelledImage
from napari_segment_anything.modeling.sizes import NANO
from napari_segment_anything.training.crops import scene_of


def grey(values):
    plane = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.repeat(plane[..., None], 3, axis=2)


def noise(sigma, size_hw=(200, 240), seed=0):
    return sigma * np.random.default_rng(seed).standard_normal(size_hw)


def scene():
    """Disks on a slope of light: what is no noise."""
    light = np.linspace(40, 90, 240)[None] + np.linspace(0, 30, 200)[:, None]
    image, _ = disks((200, 240), [(60, 70, 30), (130, 150, 40), (50, 190, 20)])
    return light + 60 * (image > image.mean())


@pytest.mark.parametrize("sigma", [2.0, 6.0, 15.0, 30.0])
def test_level_is_that_of_the_noise_in_a_picture(sigma):
    assert noise_level(grey(scene() + noise(sigma))) == pytest.approx(sigma, rel=0.06)


def test_edges_and_shading_are_no_noise():
    assert noise_level(grey(scene())) < 1
    picture = grey(scene() + noise(NOISY - 1))
    assert quieted(picture) is picture


def test_the_noisiest_channel_counts():
    picture = np.full((80, 90, 3), 100, np.uint8)
    picture[..., 2] = grey(100 + noise(12, (80, 90)))[..., 0]
    assert noise_level(picture) == pytest.approx(12, rel=0.1)
    assert noise_level(picture[:2]) == 0


@pytest.mark.parametrize("sigma", [8.0, 16.0])
def test_smoothing_leaves_little_noise(sigma):
    picture = grey(120 + noise(sigma))
    assert quieted(picture).astype(float)[8:-8, 8:-8].std() == pytest.approx(QUIET, rel=0.1)
    assert noise_level(quieted(picture)) < NOISY  # once is enough
    assert quieted(picture).mean() == pytest.approx(picture.mean(), abs=0.1)


def test_smoothing_has_an_end():
    spot = grey(120 + noise(40, (201, 201)))
    left = quieted(spot).astype(float).std()
    assert left == pytest.approx(spot.std() / (2 * np.sqrt(np.pi) * MOST_BLUR_PX), rel=0.1)


def test_nano_is_shown_the_smoothed_picture_and_a_vit_the_picture():
    picture = grey(scene() + noise(20))
    for model, smooths in ((random_model(NANO), True), (random_model(), False)):
        (seen,), (smooth,) = (encode(model, p).tiles for p in (picture, quieted(picture)))
        assert torch.equal(seen.features, smooth.features) is smooths


def test_nano_is_taught_what_it_is_shown():
    picture = grey(scene() + noise(20))
    image = LabelledImage("noisy", picture, np.ones(picture.shape[:2], np.int32))
    assert np.array_equal(scene_of(image).image, picture)
    assert np.array_equal(scene_of(image, smooth=True).image, quieted(picture))
