from __future__ import annotations

import numpy as np
import pytest

from napari_segment_anything.inference.preprocess import to_rgb8


def test_uint8_colour_is_unchanged_and_alpha_dropped():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    assert np.array_equal(to_rgb8(image), image[..., :3])
    assert np.array_equal(to_rgb8(image[..., :3], (10, 20)), image[..., :3])


def test_grey_is_stretched_between_percentiles():
    image = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    out = to_rgb8(image)
    low, high = np.percentile(image, (0.1, 99.9))
    expected = np.rint(np.clip((image - low) / (high - low) * 255, 0, 255))
    assert np.array_equal(out[..., 0], expected) and np.array_equal(out[..., 0], out[..., 2])


def test_contrast_limits_decide():
    out = to_rgb8(np.array([[0, 100, 150, 200, 400]], np.int32), (100, 200))
    assert out[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_colour_of_other_types_shares_one_stretch():
    image = np.zeros((20, 20, 3), np.float32)
    image[..., 0], image[..., 1] = 1.0, 0.5
    assert to_rgb8(image)[0, 0].tolist() == [255, 128, 0]


def test_not_finite_values():
    image = np.linspace(0, 1, 100).reshape(10, 10)
    image[0, :3] = np.nan, np.inf, -np.inf
    out = to_rgb8(image, (0, 1))
    assert out[0, :3, 0].tolist() == [0, 255, 0]
    assert np.array_equal(to_rgb8(np.full((4, 4), np.nan)), np.zeros((4, 4, 3)))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.float16, np.float64])
def test_types_and_constant_images(dtype):
    image = np.zeros((6, 6), dtype)
    assert not to_rgb8(image).any()
    image[2:, :] = 1
    out = to_rgb8(image)
    assert out[0, 0, 0] == 0 and out[5, 5, 0] == 255
    assert len(np.unique(to_rgb8(np.ones((6, 6), dtype)))) == 1


def test_extreme_values_do_not_overflow():
    image = np.array([[np.finfo(np.float64).min, 0, np.finfo(np.float64).max]])
    out = to_rgb8(image)[0, :, 0]
    assert out[0] <= out[1] <= out[2] and out[2] == 255


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(5),
        np.zeros((2, 3, 4, 3)),
        np.zeros((4, 4, 2)),
        np.zeros((0, 4)),
        np.zeros((3, 3), complex),
        np.array([["a", "b"]]),
    ],
)
def test_what_cannot_be_an_image(bad):
    with pytest.raises(ValueError, match="Expected"):
        to_rgb8(bad)
