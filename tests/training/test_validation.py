"""Validation asks as a person in front of the image would, and scores what `predict` answers."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from tests.pictures import disks, iou
from tests.training.runs import quick, random_file

from napari_segment_anything import encode, load_model, predict
from napari_segment_anything.evaluation.interactive import centre_xy
from napari_segment_anything.io.labelled import LabelledImage
from napari_segment_anything.training.crops import scene_of
from napari_segment_anything.training.validation import Validator, compared, questions_of, spread

SPOTS = [(30, 30, 12), (70, 90, 15), (100, 40, 10), (30, 100, 8)]


@pytest.fixture
def scene():
    pixels, labels = disks((128, 130), SPOTS)
    return scene_of(LabelledImage("disks", pixels, labels))


def best(answer):
    return answer.masks[answer.iou.argmax()]


@pytest.fixture(params=["nano", "vit"])
def model(request, tmp_path):
    kind = request.param
    return load_model(kind if kind == "nano" else random_file(tmp_path, kind), "cpu", "fp32")


def test_scores_are_those_of_predict(model, scene):
    score, _ = Validator([scene], quick(), True, nullcontext).score(model)
    embedding = encode(model, scene.image)
    clicks, boxes = [], []
    for label in range(1, 5):
        true = scene.labels == label
        y, x = np.nonzero(true)
        box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
        clicks.append(iou(best(predict(model, embedding, [centre_xy(true)], [1])), true))
        boxes.append(iou(best(predict(model, embedding, box_xyxy=box)), true))
    assert score.click == pytest.approx(np.mean(clicks), abs=1e-3)
    assert score.box == pytest.approx(np.mean(boxes), abs=1e-3)
    assert score.mean == (score.click + score.box) / 2


def test_embeddings_are_kept_while_the_encoder_stays(scene, monkeypatch, tmp_path):
    model = load_model(random_file(tmp_path, "vit"), "cpu", "fp32")
    for keeps, wanted in ((True, 2), (False, 4)):
        encoded = []

        def counted(*arguments, seen=encoded):
            seen.append(1)
            return encode(*arguments)

        monkeypatch.setattr("napari_segment_anything.training.validation.encode", counted)
        validator = Validator([scene, scene], quick(), keeps, nullcontext)
        assert validator.score(model)[0] == validator.score(model)[0]
        assert len(encoded) == wanted


def test_questions(scene):
    asked = questions_of(scene, 3)
    assert asked.ids.tolist() == [1, 2, 3]
    assert asked.areas.tolist() == [int((scene.labels == i).sum()) for i in (1, 2, 3)]
    assert np.abs(asked.points_xy - [[30, 30], [90, 70], [40, 100]]).max() <= 1
    assert asked.boxes_xyxy.tolist()[0] == [18, 18, 43, 43]
    assert len(questions_of(scene, 100).ids) == 4


def test_items_are_spread():
    assert spread(range(10), 4) == [0, 2, 5, 7]
    assert spread("abc", 5) == ["a", "b", "c"]


def test_a_picture_shows_true_outlines_in_yellow_and_found_ones_in_blue(scene):
    asked = questions_of(scene, 4)
    found = np.zeros_like(scene.labels)
    found[60:80, 5:20] = 1
    picture = compared(asked, found)
    assert picture[18, 30].tolist() == [255, 210, 0]  # the first disk's upper end
    assert picture[60, 10].tolist() == [0, 140, 255]
    assert np.array_equal(picture[30, 30], scene.image[30, 30])
    assert np.array_equal(picture[70, 12], scene.image[70, 12])
