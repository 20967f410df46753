"""`SamAutomaticMaskGenerator` against the reference: the same records."""

from __future__ import annotations

import numpy as np
import pytest
import segment_anything as reference
from pycocotools import mask as coco

from napari_segment_anything import sam as ours

from .conftest import picture

SWAP = 1e-5
LOOSE = {"pred_iou_thresh": -9.0, "stability_score_thresh": 0.0}


def generators(pair, **settings):
    return (
        reference.SamAutomaticMaskGenerator(pair.reference, **settings),
        ours.SamAutomaticMaskGenerator(pair.ours, **settings),
    )


def assert_same_records(want: list[dict], got: list[dict]) -> None:
    """The same, but that neighbours of nearly equal predicted IoU may have changed places."""
    assert len(want) == len(got)
    for i, record in enumerate(got):
        near = [
            w
            for w in want[max(0, i - 2) : i + 3]
            if abs(w["predicted_iou"] - record["predicted_iou"]) < SWAP
        ]
        assert any(same(w, record) for w in near), i


def same(a: dict, b: dict) -> bool:
    if a.keys() != b.keys():
        return False
    exact = all(a[k] == b[k] for k in ("area", "bbox", "point_coords", "crop_box"))
    mask_a, mask_b = a["segmentation"], b["segmentation"]
    masks = np.array_equal(mask_a, mask_b) if isinstance(mask_a, np.ndarray) else mask_a == mask_b
    stability = np.isclose(a["stability_score"], b["stability_score"], atol=1e-4, equal_nan=True)
    return exact and masks and bool(stability)


@pytest.fixture(autouse=True)
def high_threshold(request, monkeypatch):
    """Random weights answer with speckles all over; only their peaks have boxes of their own."""
    pair = request.getfixturevalue("vit_b" if "vit_b" in request.fixturenames else "tiny")
    predictor = reference.SamPredictor(pair.reference)
    predictor.set_image(picture(60, 80))
    logits = predictor.predict(np.array([[30, 30]]), np.array([1]), return_logits=True)[0]
    level = float(np.quantile(logits, 0.9995))
    monkeypatch.setattr(pair.reference, "mask_threshold", level)
    monkeypatch.setattr(pair.ours, "mask_threshold", level)


def quantile_thresholds(pair, image, **grid) -> dict[str, float]:
    """Thresholds that random weights pass about half the time."""
    records = reference.SamAutomaticMaskGenerator(pair.reference, **grid, **LOOSE).generate(image)
    middle = {
        k: float(np.nanmedian([r[k] for r in records]))
        for k in ("predicted_iou", "stability_score")
    }
    assert len(records) > 4
    return {
        "pred_iou_thresh": middle["predicted_iou"],
        "stability_score_thresh": middle["stability_score"] * 0.9,
    }


@pytest.mark.parametrize("size", [(150, 220), (220, 150)])
@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_crops_and_formats(tiny, size, mode):
    image = picture(*size, seed=5)
    grid = {
        "points_per_side": 7,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "box_nms_thresh": 0.95,
        "crop_nms_thresh": 0.95,
    }
    chosen = {**grid, **quantile_thresholds(tiny, image, **grid), "output_mode": mode}
    theirs, mine = generators(tiny, **chosen, points_per_batch=16)
    want, got = theirs.generate(image), mine.generate(image)
    assert len(want) > 3 and len({tuple(r["crop_box"]) for r in want}) > 1
    assert_same_records(want, got)
    if mode == "coco_rle":
        assert coco.decode(got[0]["segmentation"]).sum() == got[0]["area"]


def test_two_crop_layers_and_nms(tiny):
    image = picture(160, 200, seed=6)
    settings = {
        "points_per_side": 6,
        "crop_n_layers": 2,
        "box_nms_thresh": 0.8,
        "crop_nms_thresh": 0.9,
        "crop_overlap_ratio": 0.2,
        "stability_score_offset": 0.05,
        **LOOSE,
    }
    theirs, mine = generators(tiny, **settings)
    assert_same_records(theirs.generate(image), mine.generate(image))


def test_small_regions(tiny):
    image = picture(120, 150, seed=7)
    settings = {"points_per_side": 6, "min_mask_region_area": 60, **LOOSE}
    theirs, mine = generators(tiny, **settings)
    want, got = theirs.generate(image), mine.generate(image)
    assert_same_records(want, got)
    plain = generators(tiny, points_per_side=6, **LOOSE)[1].generate(image)
    assert sum(r["area"] for r in plain) != sum(r["area"] for r in got)


def test_own_point_grids(tiny):
    image = picture(100, 100, seed=8)
    grids = [np.random.default_rng(0).uniform(0, 1, (20, 2))]
    theirs, mine = generators(tiny, points_per_side=None, point_grids=grids, **LOOSE)
    assert_same_records(theirs.generate(image), mine.generate(image))
    with pytest.raises(ValueError, match="either"):
        ours.SamAutomaticMaskGenerator(tiny.ours, point_grids=grids)


def test_vit_b(vit_b):
    image = picture(240, 320, seed=9)
    grid = {"points_per_side": 4, "box_nms_thresh": 0.95}
    theirs, mine = generators(vit_b, **grid, **LOOSE)
    want, got = theirs.generate(image), mine.generate(image)
    assert len(want) > 3
    assert_same_records(want, got)
