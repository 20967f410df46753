"""What is held out: enough, apart from what is learned from, and seen as in use."""

from __future__ import annotations

import numpy as np
import pytest

from napari_segment_anything.improving.split import split
from napari_segment_anything.io.labelled import LabelledImage, object_count


def squares(count, name="a", size_hw=(20, 200), first=1):
    """``count`` squares of 4 x 4 from left to right, 10 apart, on pixels that tell their column."""
    labels = np.zeros(size_hw, np.int32)
    for i in range(count):
        labels[8:12, 10 * i + 2 : 10 * i + 6] = first + i
    pixels = np.broadcast_to(np.arange(size_hw[1], dtype=np.uint16), size_hw).copy()
    return LabelledImage(name, pixels, labels)


def ids(images):
    return sorted(int(i) for image in images for i in np.unique(image.labels) if i)


def test_one_image_is_cut_where_no_object_is():
    parts = split([[squares(10)]])
    assert ids(parts.train) == [1, 2, 3, 4, 5, 6, 7, 8] and ids(parts.held_out) == [9, 10]
    (train,), (held_out,) = parts.train, parts.held_out
    assert train.pixels.shape == (20, 82) == train.labels.shape and train.pixels.max() == 81
    assert held_out.pixels.shape == (20, 200)  # the model sees the whole image in use


def test_objects_on_the_cut_are_learned_from_as_far_as_they_are_there():
    image = squares(10)
    image.labels[14:18, 60:130] = 11
    parts = split([[image]])
    assert 11 in ids(parts.train) and 11 not in ids(parts.held_out)
    assert len(ids(parts.held_out)) >= 2


def test_the_cut_goes_across_the_longer_row_of_objects():
    upright = squares(10)
    image = LabelledImage("up", upright.pixels.T, np.ascontiguousarray(upright.labels.T))
    parts = split([[image]])
    assert parts.train[0].labels.shape == (82, 20)


def test_the_end_of_a_stack_is_held_out_whole():
    planes = [squares(5, f"z{i}", first=1) for i in range(10)]
    parts = split([planes])
    assert [p.name for p in parts.train] == [f"z{i}" for i in range(8)]
    assert [p.name for p in parts.held_out] == ["z9", "z8"]


def test_every_source_gives_a_part_and_small_ones_are_learned_from():
    parts = split([[squares(10, "a")], [squares(3, "b")], [squares(15, "c")]])
    assert {i.name for i in parts.train} == {"a", "b", "c"}
    assert {i.name for i in parts.held_out} == {"a", "c"}
    counts = [object_count(i.labels) for i in parts.held_out]
    assert counts == [2, 3]


def test_small_sources_together_are_enough():
    parts = split([[squares(3, "a")], [squares(3, "b")]])
    assert len(ids(parts.train)) + len(ids(parts.held_out)) == 6 and len(ids(parts.held_out)) >= 2


def test_of_many_objects_a_hundred_are_held_out():
    parts = split([[squares(20, f"i{i}") for i in range(100)]])
    assert len(ids(parts.held_out)) == 100


def test_colour_and_any_ids_are_kept():
    image = squares(6)
    image.labels[image.labels > 0] += 1000
    colour = LabelledImage("c", np.stack([image.pixels] * 3, -1), image.labels)
    parts = split([[colour]])
    assert ids(parts.train) == [1001, 1002, 1003, 1004]
    assert parts.train[0].pixels.shape == (20, 42, 3)


def test_too_few_objects_and_objects_in_one_place():
    with pytest.raises(ValueError, match="at least 5 labelled objects, got 3; label 2 more"):
        split([[squares(3)]])
    rings = np.zeros((40, 40), np.int32)
    for label in range(1, 6):  # one inside the other, all from the same corner
        rings[: 40 - 6 * label, : 40 - 6 * label] = label
    with pytest.raises(ValueError, match="side by side"):
        split([[LabelledImage("rings", rings.astype(np.uint8), rings)]])
