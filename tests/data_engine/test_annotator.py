"""The simulated person: where it clicks, how often, what it keeps, and how long it takes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.data_engine.stand_in import FIELD, THREE, field

from napari_segment_anything.data_engine.annotator import SimulatedAnnotator
from napari_segment_anything.data_engine.canvas import Canvas, Drawn
from napari_segment_anything.data_engine.settings import EngineSettings, Pace
from napari_segment_anything.structures import MaskPrediction

TRUE = field((10, 20), side=20) > 0  # rows 10..29, columns 20..39
LEFT, RIGHT, NOTHING = TRUE.copy(), TRUE.copy(), np.zeros(FIELD, bool)
LEFT[:, 30:] = False
RIGHT[:, :30] = False
MOST = TRUE.copy()
MOST[:, 22:24] = False  # IoU 0.9
PACE = Pace(2, 0.25, seconds_per_rejection=1, seconds_per_painting=30)


class Script:
    """Answers by number of clicks: lists of (mask, rating); the last one stays."""

    def __init__(self, *answers):
        self.answers, self.asked = answers, []

    def __call__(self, points, labels, mask=None):
        self.asked.append((list(points), list(labels), None if mask is None else float(mask[0, 0])))
        answer = self.answers[min(len(points), len(self.answers)) - 1]
        masks, ratings = zip(*answer, strict=True)
        logits = np.stack([np.full((2, 2), 10 * len(points) + i) for i in range(len(masks))])
        return MaskPrediction(np.stack(masks), np.array(ratings), logits)


def draw(script, **options):
    person = SimulatedAnnotator({}, pace=PACE, **options)
    return person.draw(TRUE, Canvas(FIELD, script))


def test_one_click_at_the_centre_suffices():
    script = Script([(NOTHING, 0.1), (MOST, 0.9), (LEFT, 0.5)])
    drawn = draw(script)
    ((points, labels, logits),) = script.asked
    assert labels == [1] and logits is None
    assert np.abs(np.array(points[0]) - (29.5, 19.5)).max() <= 0.5
    assert (drawn.mask == MOST).all() and drawn.predicted_iou == 0.9
    assert (drawn.effort.clicks, drawn.effort.glances, drawn.effort.seconds) == (1, 0, 2.0)


def test_another_of_three_candidates_costs_a_glance():
    third = draw(Script([(NOTHING, 0.9), (LEFT, 0.5), (TRUE, 0.3)]))
    assert (third.mask == TRUE).all() and third.predicted_iou == 0.3
    assert (third.effort.clicks, third.effort.glances, third.effort.seconds) == (1, 2, 2.5)


def test_corrections_go_to_the_largest_error_and_feed_the_shown_logits_back():
    too_much = TRUE.copy()
    too_much[32:36, 20:40] = True  # IoU 400 / 480
    script = Script([(NOTHING, 0.1), (LEFT, 0.8), (RIGHT, 0.2)], [(too_much, 0.7)], [(TRUE, 0.6)])
    drawn = draw(script)
    (_, first, second) = script.asked
    assert first[1] == [1, 1] and first[2] == 11  # the best rated of the first answer
    x, y = first[0][1]
    assert RIGHT[int(y), int(x)] and abs(x - 34.5) <= 1
    assert second[1] == [1, 1, 0] and second[2] == 20
    x, y = second[0][2]
    assert 33 <= y <= 34
    assert (drawn.mask == TRUE).all() and drawn.point_labels == (1, 1, 0)
    # None of three was good enough: two more looks, then two more clicks.
    assert (drawn.effort.clicks, drawn.effort.glances, drawn.effort.seconds) == (3, 2, 6.5)


def test_what_clicks_leave_bad_is_painted():
    drawn = draw(Script([(NOTHING, 0.1), (LEFT, 0.8), (NOTHING, 0.2)], [(LEFT, 0.9)]))
    assert (drawn.mask == TRUE).all() and drawn.points_xy == () and drawn.predicted_iou is None
    effort = drawn.effort
    assert (effort.clicks, effort.glances, effort.paintings) == (8, 2, 1)
    assert effort.seconds == 8 * 2 + 2 * 0.25 + 30


def test_the_best_mask_is_kept_when_clicks_are_spent():
    mostly = TRUE.copy()
    mostly[:, 34:] = False  # IoU 0.7
    three = [(NOTHING, 0.1), (LEFT, 0.8), (NOTHING, 0.2)]
    script = Script(three, [(mostly, 0.5)], [(LEFT, 0.9)])
    drawn = draw(script, most_clicks=4, paints=False)
    assert drawn.effort.clicks == 4 and len(script.asked) == 4
    assert (drawn.mask == mostly).all() and drawn.predicted_iou == 0.5
    assert len(drawn.points_xy) == 2  # those that made it


def test_a_hopeless_mask_is_taken_back_and_its_clicks_count():
    script = Script([(NOTHING, 0.1), (NOTHING, 0.8), (NOTHING, 0.2)], [(NOTHING, 0.1)])
    drawn = draw(script, paints=False)
    assert drawn.mask is None and drawn.effort.clicks == 8 and drawn.effort.paintings == 0


def test_review_keeps_what_is_good_enough():
    proposed = np.zeros(FIELD, np.int32)
    proposed[2:14, 2:13] = 4  # 11 of 12 columns
    proposed[2:14, 22:30] = 5  # 8 of 12
    proposed[30:, :5] = 6
    review = SimulatedAnnotator({"a": THREE}, pace=PACE).review("a", proposed)
    assert review.kept == {4}
    effort = review.effort
    assert (effort.clicks, effort.glances, effort.rejections) == (2, 3, 2)
    assert effort.seconds == 3 * 0.25 + 2 * 1


def test_objects_come_large_first_and_only_where_nothing_is():
    true = field((2, 2), (2, 22), (22, 42))
    true[20:38, 2:20] = 4
    canvas = Canvas(FIELD, lambda points, labels, mask: None)
    canvas.add(Drawn(true == 2))
    canvas.add(Drawn((true == 3) & (np.arange(FIELD[1]) < 50)))  # two thirds of it: 8 of 12
    person = SimulatedAnnotator({"a": true})
    asked = []
    person.draw = lambda mask, _canvas: asked.append(np.unique(true[mask]).tolist()) or Drawn(mask)
    for drawn in person.objects("a", canvas):
        canvas.add(drawn)
    assert asked == [[4], [1]]


def test_pace():
    assert Pace(2, 3, 5, 7).seconds(1, 10, 100, 1000) == 2 + 30 + 500 + 7000


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SimulatedAnnotator({}, target_iou=0.5), "target_iou above 0.5"),
        (lambda: SimulatedAnnotator({}, most_clicks=0), "at least one click"),
        (lambda: Pace(seconds_per_click=-1), "seconds_per_click as a number from 0.0"),
        (lambda: EngineSettings(confident_iou=1.5), "confident_iou as a number from 0.0"),
        (lambda: SimulatedAnnotator({}).review("b", np.zeros(FIELD, np.int32)), "labels of 'b'"),
    ],
)
def test_impossible_choices(make, said):
    with pytest.raises(ValueError, match=said):
        make()
