"""Where the simulated person clicks, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_segment_anything.evaluation.interactive import (
    ObjectScore,
    centre_xy,
    clicks_needed,
    next_click,
    score_object,
)
from napari_segment_anything.evaluation.summary import pooled_prompts
from napari_segment_anything.structures import MaskPrediction

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))
pairs = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


def square(y, x, side, size_hw=(20, 30)):
    mask = np.zeros(size_hw, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_the_centre_is_x_then_y_and_the_image_has_borders():
    assert centre_xy(square(2, 10, 5)) == (12, 4)
    corner = np.zeros((20, 30), bool)
    corner[:9, :9] = True  # without the image's edge the corner pixel would lie deepest
    assert centre_xy(corner) == (4, 4)
    with pytest.raises(ValueError, match="empty"):
        centre_xy(np.zeros((3, 3), bool))


@given(masks)
def test_the_centre_is_the_deepest_pixel(mask):
    if not mask.any():
        return
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    x, y = centre_xy(mask)
    assert depth[int(y), int(x)] == depth.max()


def test_the_next_click_goes_to_the_largest_error():
    true = square(2, 2, 9)
    found = true.copy()
    found[2:11, 8:11] = False  # missed: 27 pixels in one piece
    assert next_click(found, true) == ((9, 3), 1)
    found |= square(13, 20, 5)  # taken: 25 pixels, fewer
    assert next_click(found, true) == ((9, 3), 1)
    found |= square(12, 19, 7)  # now 49
    assert next_click(found, true) == ((22, 15), 0)
    assert next_click(true, true) is None


def test_errors_of_both_signs_are_not_one_region():
    """Missed and taken pixels side by side: 12 and 15, not 27 together."""
    true, found = np.zeros((9, 12), bool), np.zeros((9, 12), bool)
    true[3:6, 1:5] = True
    found[3:6, 5:10] = True
    assert next_click(found, true) == ((6, 4), 0)


@given(pairs)
def test_the_next_click_lies_in_the_error_that_it_corrects(pair):
    found, true = pair
    click = next_click(found, true)
    if click is None:
        assert (found == true).all()
        return
    (x, y), label = click
    assert true[int(y), int(x)] == label and found[int(y), int(x)] != label
    largest = [ndimage.label(region)[0] for region in (found & ~true, true & ~found)]
    sizes = [np.bincount(parts.ravel())[1:].max(initial=0) for parts in largest]
    part = largest[label] == largest[label][int(y), int(x)]
    assert part.sum() == max(sizes)


class Growing:
    """Answers with the first pixels of the object, a part of them an answer; keeps the prompts.

    A worse candidate is rated lower, so that only a person who takes the best gets these IoUs.
    """

    def __init__(self, true, parts, rating=0.5):
        self.true, self.parts, self.rating, self.prompts = true, parts, rating, []

    def __call__(self, prompt):
        part = self.parts[len(self.prompts)]
        self.prompts.append(prompt)
        inside = np.flatnonzero(self.true)[: round(part * self.true.sum())]
        mask = np.zeros(self.true.size, bool)
        mask[inside] = True
        logits = np.full((2, 3, 3), len(self.prompts), np.float32)
        logits[0] = -9
        masks = np.stack([np.zeros_like(self.true), mask.reshape(self.true.shape)])
        return MaskPrediction(masks, np.array([0.1, self.rating], np.float32), logits)


def test_iou_after_each_click_is_the_models():
    true = square(5, 5, 10)
    model = Growing(true, [0.3, 0.8, 0.86, 0.85, 0.4])
    score = score_object(model, true, clicks=3, box_rounds=2)
    assert score == ObjectScore((0.3, 0.8, 0.86), (0.85, 0.4), 0.5)


def test_prompts_grow_and_logits_are_fed_back():
    true = square(5, 5, 10)
    model = Growing(true, [0.3, 0.8, 0.9, 0.9, 0.5])
    score_object(model, true, clicks=3, box_rounds=2)
    first, second, third, box, corrected = model.prompts
    assert first.points_xy.tolist() == [[9, 9]] and first.mask is None
    assert second.points_xy[0].tolist() == [9, 9] and second.point_labels.tolist() == [1, 1]
    assert (second.mask == 1).all() and (third.mask == 2).all() and third.mask.shape == (3, 3)
    assert len(third.points_xy) == 3
    assert box.box_xyxy.tolist() == [5, 5, 15, 15] and box.points_xy is None and box.mask is None
    assert corrected.box_xyxy.tolist() == [5, 5, 15, 15] and len(corrected.points_xy) == 1
    assert (corrected.mask == 4).all()


def test_a_perfect_mask_is_left_alone():
    true = square(5, 5, 10)
    model = Growing(true, [0.5, 1.0])
    assert score_object(model, true, clicks=5, box_rounds=0).clicks == (0.5, 1, 1, 1, 1)
    assert len(model.prompts) == 2


def test_number_of_clicks():
    assert clicks_needed([0.5, 0.85, 0.8], 0.85) == 2
    assert clicks_needed([0.85], 0.85) == 1
    assert clicks_needed([0.5, 0.849], 0.85) is None
    scores = [
        ObjectScore((0.5, 0.86, 0.95), (0.6,), 0.7),
        ObjectScore((0.9, 0.5, 0.5), (0.8,), 0.9),
        ObjectScore((0.1, 0.2, 0.3), (0.7,), 0.4),
    ]
    pooled = pooled_prompts(scores)
    assert pooled.noc == {0.85: (2 + 1 + 3) / 3, 0.9: (3 + 1 + 3) / 3}
    assert pooled.reached == {0.85: 2 / 3, 0.9: 2 / 3}
    assert pooled.click_iou == pytest.approx((0.5, 0.52, 1.75 / 3))
    assert pooled.box_iou == pytest.approx((0.7,))
    assert pooled.calibration.mean_error == pytest.approx((0.2 + 0 + 0.3) / 3)
