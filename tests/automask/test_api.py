from __future__ import annotations

import pickle

import numpy as np
import pytest
from tests.pictures import disks, iou, random_model

from napari_segment_anything import auto_mask, encode, load_model
from napari_segment_anything.automask.api import painted
from napari_segment_anything.automask.records import MaskRecord
from napari_segment_anything.geometry.rle import LocalMask

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


@pytest.mark.parametrize(("hidden_rows", "kept"), [(4, 2), (5, 1), (6, 1)])
def test_what_is_left_of_a_mask_is_an_object_if_it_is_most_of_it(hidden_rows, kept):
    whole = MaskRecord(
        LocalMask.of(np.ones((10, 10), bool), (3, 5)), (20, 20), {"area": 100, "predicted_iou": 0.7}
    )
    better = MaskRecord(
        LocalMask.of(np.ones((hidden_rows, 10), bool), (3, 5)),
        (20, 20),
        {"area": 10 * hidden_rows, "predicted_iou": 0.8},
    )
    labels, records = painted([whole, better], (20, 20))
    assert records == [better, whole][:kept]
    assert (
        np.bincount(labels.ravel()).tolist()[1:]
        == [10 * hidden_rows, 100 - 10 * hidden_rows][:kept]
    )


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
        {"pred_iou_thresh": float("nan")},
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


def test_whole_numbers_may_come_as_floats_and_crops_may_be_tiny(nano):
    image = disks((64, 64), [(30, 30, 10)])[0]
    settings = {"points_per_side": 4.0, "points_per_batch": 64.0, "crop_n_layers": 1.0}
    assert auto_mask(nano, image, **settings, crop_n_points_downscale_factor=8)[0].any()
    for size in ((5, 7), (1, 1), (1, 300)):
        labels, _ = auto_mask(nano, np.zeros(size), crop_n_layers=3, points_per_side=2)
        assert labels.shape == size


def test_a_record_is_the_references_dict(found):
    (_, records), *_ = found
    record = records[0]
    keys = {"segmentation", "area", "bbox", "predicted_iou", "point_coords"}
    assert isinstance(record, dict) and set(record) == keys | {"stability_score", "crop_box"}
    mask = record["segmentation"]
    assert mask.sum() == record["area"]
    for same in ({**record}, dict(record), record.copy(), pickle.loads(pickle.dumps(record))):
        assert np.array_equal(same["segmentation"], mask) and same["bbox"] == record["bbox"]
    assert any(value is not None and np.array_equal(value, mask) for value in record.values())
    assert record.get("segmentation").any() and record.get("nothing", 3) == 3
    record["segmentation"] = "mine"
    assert record["segmentation"] == "mine"


def test_many_small_objects_are_found_whatever_the_grid(nano):
    spots = [(y, x, 6) for y in range(20, 600, 40) for x in range(20, 600, 40)]
    image, truth = disks((600, 600), spots)
    labels, _ = auto_mask(nano, image, points_per_side=4)
    best = [np.bincount(labels[truth == n], minlength=1)[1:].max(initial=0) for n in range(1, 226)]
    assert np.mean(np.array(best) > 60) > 0.9  # of 113 pixels each


def test_cancel_acts_while_crops_are_encoded():
    model, ticks = random_model(), []

    def stop(done, total):
        ticks.append(done)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        auto_mask(model, np.zeros((64, 64)), crop_n_layers=1, points_per_side=2, progress=stop)
    assert ticks == [0]  # before the first point was asked
