from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.pictures import disks

from napari_segment_anything.modeling.sizes import build_sam, small_vit_config
from napari_segment_anything.sam import SamAutomaticMaskGenerator, SamPredictor


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return build_sam(small_vit_config()).eval()


@pytest.fixture
def image():
    return np.repeat(disks((90, 120), [(40, 50, 20)])[0][..., None], 3, 2)


def test_computes_in_the_modules_own_type(sam, image):
    full = SamPredictor(sam)
    full.set_image(image)
    want = full.predict(np.array([[50, 40]]), np.array([1]), return_logits=True)[0]
    cast = SamPredictor(sam.to(torch.bfloat16))
    cast.set_image(image)
    assert cast.features.dtype == torch.bfloat16
    box = np.array([30, 20, 70, 60])
    for prompt in ({"box": box}, {"point_coords": box[None, :2], "point_labels": np.array([1])}):
        masks, iou, low_res = cast.predict(**prompt)
        assert masks.dtype == bool and np.isfinite(iou).all()
        again = cast.predict(**prompt, mask_input=low_res[:1])
        assert np.isfinite(again[2]).all()
    got = cast.predict(np.array([[50, 40]]), np.array([1]), return_logits=True)[0]
    assert np.abs(got - want).max() < 0.1 * np.abs(want).max()
    records = SamAutomaticMaskGenerator(
        cast.model, points_per_side=2, pred_iou_thresh=-9, stability_score_thresh=0
    ).generate(image)
    assert records and records[0]["segmentation"].shape == (90, 120)


def test_new_weights_answer_at_once(sam, image):
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    point = (np.array([[50, 40]]), np.array([1]))
    before = predictor.predict(*point)[2]
    torch.manual_seed(9)
    other = build_sam(small_vit_config())
    sam.load_state_dict(other.state_dict())
    predictor.set_image(image)
    fresh = SamPredictor(other.eval())
    fresh.set_image(image)
    after = predictor.predict(*point)[2]
    assert np.array_equal(after, fresh.predict(*point)[2]) and not np.array_equal(after, before)


def test_what_cannot_be_set(sam):
    predictor = SamPredictor(sam)
    with pytest.raises(ValueError, match="uint8"):
        predictor.set_image(np.zeros((5, 5, 3)))
    with pytest.raises(ValueError, match=r"\(5, 5\)"):
        predictor.set_image(np.zeros((5, 5), np.uint8))


def test_a_generators_attributes_may_be_changed_between_images(sam, image):
    generator = SamAutomaticMaskGenerator(sam, points_per_side=2, pred_iou_thresh=0.0)
    assert [grid.shape for grid in generator.point_grids] == [(4, 2)]
    generator.pred_iou_thresh, generator.stability_score_thresh = -9.0, 0.0
    assert generator.settings.pred_iou_thresh == -9.0 and generator.generate(image)
    generator.pred_iou_thresh = 9.0
    assert generator.generate(image) == []
