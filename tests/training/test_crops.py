"""Crops for runs: reproduced by number, at the scale of use, labels where their objects are."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from tests.training.runs import labelled, quick

from napari_segment_anything.io.labelled import LabelledImage
from napari_segment_anything.training.crops import (
    CropCache,
    CropSource,
    Encoded,
    ahead,
    scene_of,
)
from napari_segment_anything.training.data import stacked


@pytest.fixture
def scenes():
    return [scene_of(image) for image in labelled(3)]


def source(scenes, square_px=0, **changes):
    settings = quick(**{"augment": 0.0, "zoom_spread": 0.0, **changes})
    return CropSource(scenes, settings.settled(is_square=bool(square_px), on_gpu=False), square_px)


def test_a_scene_is_stretched_to_8_bit_and_its_labels_counted_anew():
    image = labelled(1)[0]
    scene = scene_of(image)
    assert scene.image.dtype == np.uint8 and scene.image.max() == 255
    assert np.unique(scene.labels).tolist() == [0, 1, 2, 3]
    assert np.array_equal(scene.labels * 5, image.labels)


def test_what_is_no_image_is_named():
    with pytest.raises(ValueError, match="odd: Expected an image"):
        scene_of(LabelledImage("odd", np.zeros((2, 3, 4, 5)), np.zeros((2, 3), np.int32)))
    with pytest.raises(ValueError, match=r"odd: expected labels \(4, 5\)"):
        scene_of(LabelledImage("odd", np.zeros((4, 5)), np.zeros((5, 4), np.int32)))


def test_a_number_is_one_crop_and_every_image_comes_as_often(scenes):
    one, two = source(scenes, 64), source(scenes, 64)
    assert torch.equal(one(7).image, two(7).image) and torch.equal(one(7).labels, two(7).labels)
    assert not torch.equal(one(7).image, one(8).image)
    for i, scene in enumerate(scenes):
        scene.image[:] = 10 * (i + 1)
    for start in (0, 3, 6):
        shades = {float(one(start + i).image.max()) for i in range(3)}
        assert shades == {10.0, 20.0, 30.0}


def test_a_square_crop_is_an_image_as_it_is_encoded(scenes):
    """All of a small image: its long side fills the square, padding is at right and bottom."""
    make = source(scenes, 128, crop_px=512)
    assert make.zoom(scenes[0]) == 2.0
    for number in range(8):
        crop = make(number)
        assert crop.image.shape == (3, 128, 128) and crop.labels.shape == (128, 128)
        inside = crop.inside[0]
        height, width = int(inside[:, 0].sum()), int(inside[0].sum())
        assert {height, width} == {96, 128}
        assert inside[:height, :width].all() and inside.sum() == height * width
        bright = crop.image[0] > 127
        assert ((crop.labels > 0) == bright).float().mean() > 0.98


def test_a_square_crop_of_a_large_image_is_enlarged():
    large = LabelledImage("large", np.zeros((200, 300), np.uint8), np.zeros((200, 300), np.int32))
    large.labels[90:110, 100:120] = 1
    make = source([scene_of(large)], 128, crop_px=64)
    assert make.zoom(make.scenes[0]) == 2.0
    areas = {int((make(i).labels > 0).sum()) for i in range(6)}
    assert areas == {1600}  # 20 x 20 pixels, twice as large along each side


def test_an_object_fits_into_its_crop():
    wide = LabelledImage("wide", np.zeros((300, 300), np.uint8), np.zeros((300, 300), np.int32))
    wide.labels[100:140, 20:280] = 1
    crop = source([scene_of(wide)], 128, crop_px=64)(0)
    sides = [int((crop.labels > 0).any(axis).sum()) for axis in (0, 1)]
    assert max(sides) == pytest.approx(0.9 * 128, abs=2)


def test_a_cache_encodes_each_crop_once(scenes):
    asked = []

    def encode(crops):
        asked.append(float(crops.image.sum()))
        return Encoded(crops.image.mean((2, 3), keepdim=True), crops.labels)

    make = source(scenes, 64)
    cache = CropCache(make, 3, encode)
    first = cache.batch([0, 1])
    assert first.features.shape == (2, 3, 1, 1) and first.labels.dtype == torch.int32
    again = cache.batch([3, 4])  # modulo 3
    assert torch.equal(again.features, first.features) and len(asked) == 2
    assert torch.equal(again.labels, stacked([make(0), make(1)]).labels)


def test_crops_are_made_ahead_in_order_and_the_thread_goes():
    before = threading.active_count()
    made = []
    batches = ahead(lambda n: made.append(n) or n * n, range(10))
    assert [next(batches) for _ in range(3)] == [0, 1, 4]
    batches.close()
    assert threading.active_count() == before and len(made) <= 6
    assert list(ahead(lambda n: n + 1, range(4))) == [1, 2, 3, 4]


def test_an_error_ahead_comes_out():
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda n: 1 // n, range(3)))
