from __future__ import annotations

import numpy as np
import pytest
from tests.pictures import disks, iou, random_model

from napari_segment_anything import auto_mask, encode, load_model

SPOTS = [(30, 30, 10), (30, 100, 14), (90, 60, 12), (95, 125, 9)]


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def found(nano):
    image, truth = disks((128, 160), SPOTS)
    embedding = encode(nano, image)
    return auto_mask(nano, embedding, points_per_side=12), truth, image, embedding


def test_every_disk_is_one_object(found):
    (labels, _), truth, _, _ = found
    assert labels.dtype == np.int32 and labels.shape == truth.shape
    for label in range(1, len(SPOTS) + 1):
        inside = labels[truth == label]
        best = np.bincount(inside[inside > 0], minlength=1).argmax()
        assert best > 0 and iou(labels == best, truth == label) > 0.7
    assert labels.max() <= len(SPOTS) + 1


def test_labels_and_records_belong_together(found):
    (labels, records), *_ = found
    assert np.unique(labels).tolist() == list(range(len(records) + 1))
    scores = [r["predicted_iou"] for r in records]
    assert scores == sorted(scores, reverse=True)
    taken = np.zeros_like(labels, bool)
    for label, record in enumerate(records, start=1):
        mask = record["segmentation"]
        assert np.array_equal(labels == label, mask & ~taken)
        assert record["area"] == mask.sum()
        x, y, w, h = record["bbox"]
        rows, cols = np.nonzero(mask)
        assert (x, y, x + w, y + h) == (cols.min(), rows.min(), cols.max(), rows.max())
        taken |= mask


def test_image_and_its_embedding_give_the_same(nano, found):
    (labels, _), _, image, _ = found
    assert np.array_equal(auto_mask(nano, image, points_per_side=12)[0], labels)


def test_background_points_are_not_asked(nano):
    empty = disks((96, 96), [])[0]
    labels, records = auto_mask(nano, empty, points_per_side=8)
    assert labels.max() <= 1 and len(records) <= 1


def test_crops_and_cancel(nano, found):
    _, truth, image, embedding = found
    labels, records = auto_mask(nano, image, points_per_side=6, crop_n_layers=1)
    assert any(r["crop_box"][2] < 160 for r in records) and iou(labels > 0, truth > 0) > 0.6
    with pytest.raises(ValueError, match="crop_n_layers=1"):
        auto_mask(nano, embedding, crop_n_layers=1)
    told = []

    def stop_soon(done, total):
        told.append((done, total))
        if len(told) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        auto_mask(nano, image, points_per_side=8, points_per_batch=4, progress=stop_soon)
    assert len(told) == 2 and told[1][1] == 64


@pytest.mark.parametrize(
    "settings",
    [
        {"points": 3},
        {"points_per_side": 0},
        {"points_per_side": 2.5},
        {"pred_iou_thresh": 1.5},
        {"pred_iou_thresh": "high"},
        {"crop_n_layers": True},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match="Expected"):
        auto_mask(random_model(), np.zeros((32, 32)), **settings)


def test_card_and_explicit_settings():
    image = disks((64, 64), [(30, 30, 10)])[0]
    loose = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 2}
    with_card = auto_mask(random_model(automask=loose), image)[1]
    assert {tuple(r["point_coords"][0]) for r in with_card} <= {
        (x, y) for x in (16.0, 48.0) for y in (16.0, 48.0)
    }
    one = auto_mask(random_model(automask=loose), image, points_per_side=1)[1]
    assert {tuple(r["point_coords"][0]) for r in one} <= {(32.0, 32.0)}
