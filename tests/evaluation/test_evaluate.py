"""Images evaluated, pooled and reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.pictures import disks, random_model

from napari_segment_anything import encode, predict
from napari_segment_anything.evaluation import evaluate, plot, report
from napari_segment_anything.evaluation.evaluate import ImageScores, Plan, evaluate_image
from napari_segment_anything.evaluation.interactive import ObjectScore, centre_xy
from napari_segment_anything.evaluation.matching import overlaps_of
from napari_segment_anything.evaluation.summary import summarised
from napari_segment_anything.io.labelled import LabelledImage

PIXELS, LABELS = disks((48, 64), [(15, 15, 8), (30, 45, 10)])
IMAGE = LabelledImage("two disks", PIXELS, LABELS * 1000)
EMPTY = LabelledImage("empty", PIXELS, np.zeros_like(LABELS))


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def true_masks(monkeypatch):
    """Whole images are segmented perfectly, but for one object too many."""

    def segment(model, source, progress, **settings):
        progress(1, 2)
        found = LABELS.copy()
        found[40:, :5] = 9
        return found, []

    monkeypatch.setattr(evaluate, "auto_mask", segment)


def test_objects_are_scored_as_predict_answers(model):
    scores = evaluate_image(model, IMAGE, Plan(clicks=1, box_rounds=1, auto=False))
    embedding = encode(model, PIXELS)
    assert len(scores.objects) == 2 and scores.overlaps is None and scores.auto_seconds == 0
    for score, label in zip(scores.objects, (1, 2), strict=True):
        true = label == LABELS
        rows, cols = np.nonzero(true)
        box = cols.min(), rows.min(), cols.max() + 1, rows.max() + 1
        clicked = predict(model, embedding, [centre_xy(true)], [1])
        boxed = predict(model, embedding, box_xyxy=box)
        for answer, iou in ((clicked, score.clicks[0]), (boxed, score.box[0])):
            mask = answer.masks[answer.iou.argmax()]
            assert iou == pytest.approx((mask & true).sum() / (mask | true).sum())
        assert score.rating == pytest.approx(clicked.iou.max())


def test_progress_goes_to_the_end_and_whole_images_are_pooled(model, true_masks):
    told = []
    scores = evaluate_image(
        model, IMAGE, Plan(1, 1), lambda done, total: told.append((done, total))
    )
    assert told == [(0, 100), (25, 100), (75, 100)]
    whole = summarised([scores]).whole
    assert (whole.true, whole.found, whole.matched) == (2, 3, 2)
    assert whole.average_precision[0.9] == pytest.approx(2 / 3)


def test_an_image_without_objects(model, true_masks):
    scores = evaluate_image(model, EMPTY, Plan(2, 2))
    assert scores.objects == ()
    alone = summarised([scores])
    assert alone.prompts is None and alone.whole.mean_ap == 0
    assert "1 whole images" in report.report(alone)
    both = summarised([scores, evaluate_image(model, IMAGE, Plan(2, 0))])
    assert both.prompts.objects == 2 and both.prompts.box_iou == ()
    assert (both.whole.true, both.whole.found, both.whole.matched) == (2, 6, 2)


def test_an_image_that_is_none_is_named(model):
    stack = LabelledImage("stack", np.zeros((48, 64, 7), np.uint8), LABELS)
    with pytest.raises(ValueError, match=r"stack: Expected an image .*\(48, 64, 7\)"):
        evaluate_image(model, stack, Plan())


def known_scores():
    objects = (ObjectScore((0.5, 0.9), (0.7, 0.8), 0.6), ObjectScore((0.9, 0.96), (0.9, 0.9), 0.95))
    found = LABELS.copy()
    found[LABELS == 2] = 0
    return ImageScores("a", objects, overlaps_of(found, LABELS), 0.5, 2.0)


def test_the_report_shows_the_numbers():
    text = report.report(summarised([known_scores()]))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["clicks", "0.700", "0.930", "1.500", "1.000", "1.500", "1.000"] in lines
    assert ["box, then clicks", "0.800", "0.850", "", "", "", ""] in lines
    assert "|predicted - true| is 0.075 on average" in text
    assert ["0.6 to 0.7", "1", "0.600", "0.500"] in lines
    whole = next(line for line in lines if line and line[0] == "2")
    assert whole[:8] == ["2", "1", "1", *["0.500"] * 5]


def test_tables_are_in_line():
    text = report.table([{"a": 1, "long name": 0.5}, {"a": "something"}])
    assert text.splitlines() == [
        "| a         | long name |",
        "|-----------|-----------|",
        "| 1         | 0.500     |",
        "| something |           |",
    ]


def test_json_holds_everything():
    data = json.loads(report.as_json([known_scores()], {"model": "x"}))
    assert data["about"] == {"model": "x"} and data["images"][0]["name"] == "a"
    assert data["scores"]["prompts"]["click_iou"] == pytest.approx([0.7, 0.93])
    assert data["scores"]["whole"]["average_precision"]["0.5"] == 0.5
    assert data["images"][0]["prompts"] == data["scores"]["prompts"]


def test_the_plot_draws_the_numbers(tmp_path):
    pytest.importorskip("matplotlib")
    scores = summarised([known_scores()])
    curves, reliability, precision = plot.draw(scores, "title").axes
    assert curves.lines[0].get_xydata().tolist() == [[1, 0.7], [2, pytest.approx(0.93)]]
    assert curves.lines[1].get_ydata().tolist() == pytest.approx([0.8, 0.85])
    assert reliability.lines[1].get_xydata().tolist() == [[0.6, 0.5], [0.95, 0.9]]
    assert [bar.get_height() for bar in reliability.patches] == [0.5, 0.5]
    assert precision.lines[0].get_ydata().tolist() == [0.5] * 9
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        plot.write_plot(tmp_path / "partial", Path(f"x.{suffix}"), scores, "title")
        assert (tmp_path / "partial").read_bytes().startswith(start)


def test_a_plot_of_no_kind_is_refused():
    pytest.importorskip("matplotlib")
    plot.check_plot(Path("a.PNG"))
    with pytest.raises(ValueError, match=r"\.png, .*got a\.txt"):
        plot.check_plot(Path("a.txt"))
