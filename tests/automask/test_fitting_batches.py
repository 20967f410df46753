"""Whole-image segmentation in less memory than it asks for gives the same masks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.pictures import disks, iou

from napari_segment_anything import auto_mask, encode, load_model, predict
from napari_segment_anything.automask import asking
from napari_segment_anything.inference.model import on_cpu
from napari_segment_anything.inference.out_of_memory import FittingBatches

SPOTS = [(30, 30, 10), (30, 100, 14), (90, 60, 12), (95, 125, 9)]


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu", precision="fp32")


@pytest.fixture
def room(monkeypatch):
    """``room["points"]`` is how many points fit into memory; ``room["asked"]`` what was tried."""
    state = {"points": 10**6, "asked": []}
    decode = asking.decode_points

    def small(model, embedding, points_xy, least_iou):
        state["asked"].append(len(points_xy))
        if len(points_xy) > state["points"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(model, embedding, points_xy, least_iou)

    monkeypatch.setattr(asking, "decode_points", small)
    return state


@pytest.mark.parametrize("points", [1, 5])
def test_smaller_batches_give_the_same_masks(nano, room, points):
    image, _ = disks((128, 160), SPOTS)
    embedding = encode(nano, image)
    labels, records = auto_mask(nano, embedding, points_per_side=12)
    room.update(points=points, asked=[])
    again, others = auto_mask(nano, embedding, points_per_side=12)
    assert np.array_equal(again, labels) and labels.max() >= len(SPOTS)
    ratings = [[r["predicted_iou"] for r in found] for found in (records, others)]
    assert ratings[0] == pytest.approx(ratings[1], abs=1e-4)
    refused = [n for n in room["asked"] if n > points]
    assert refused == sorted(refused, reverse=True) and len(set(refused)) == len(refused)


def test_one_point_that_does_not_fit_is_an_error(nano, room):
    room["points"] = 0
    with pytest.raises(torch.OutOfMemoryError):
        auto_mask(nano, disks((96, 96), SPOTS[:1])[0], points_per_side=4)
    assert room["asked"][-1] == 1


def test_parts_come_in_order_and_others_errors_pass():
    batches = FittingBatches()

    def work(part):
        if len(part) > 3:
            raise MemoryError
        return part[:, 0].tolist()

    points = np.arange(20.0).reshape(10, 2)
    parts = list(batches.run(work, points))
    assert [x for part in parts for x in part] == points[:, 0].tolist() and batches.most == 2
    assert list(batches.run(work, points[:0])) == []
    with pytest.raises(ZeroDivisionError):
        list(batches.run(lambda part: 1 / 0, points))


def test_a_copy_on_the_cpu_answers_alike(nano):
    image, _ = disks((64, 64), [(30, 30, 12)])
    twin = on_cpu(dataclasses.replace(nano, precision="bf16"))
    assert (twin.digest, twin.device.type) == (nano.digest, "cpu") and twin.sam is not nano.sam
    assert twin.precision_reason != "as asked"
    first, second = (predict(m, encode(m, image), [[30, 30]], [1]) for m in (nano, twin))
    assert iou(first.masks[0], second.masks[0]) > 0.95
