"""Each part of the paper's recipe by its numbers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from napari_segment_anything.modeling.sizes import build_sam, small_vit_config
from napari_segment_anything.training import clicks, recipe
from napari_segment_anything.training.losses import dice_loss, focal_loss
from napari_segment_anything.training.prompting import (
    Answered,
    Rules,
    Tally,
    Told,
    begin,
    prompted_rounds,
)
from napari_segment_anything.training.views import Windows, draw_targets

FIRST = torch.zeros(2, dtype=torch.int64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def true():
    out = torch.zeros(2, 16, 16)
    out[0, 2:10, 3:12] = 1
    out[1, 5:9, 5:15] = 1
    return out


def sure(mask):
    return mask * 20 - 10


def test_first_prompts_are_points_and_boxes_alike():
    boxes = recipe.first_kinds(4000, 0.5, seeded())
    assert boxes.float().mean() == pytest.approx(0.5, abs=0.03)
    assert not recipe.first_kinds(50, 0.0, seeded()).any()
    assert recipe.first_kinds(50, 1.0, seeded()).all()


def test_box_noise_is_a_tenth_of_the_side_and_at_most_20_px():
    small = torch.tensor([[100.0, 100, 150, 180]]).repeat(20_000, 1)
    noise = clicks.noised_boxes(small, seeded()) - small
    assert noise.mean(0).abs().max() < 0.2
    assert noise.std(0).tolist() == pytest.approx([5, 8, 5, 8], rel=0.03)
    large = torch.tensor([[0.0, 0, 900, 400]]).repeat(20_000, 1)
    noise = clicks.noised_boxes(large, seeded()) - large
    assert noise.abs().max() == 20
    capped = (noise.abs() == 20).float().mean(0)
    # P(|N(0, 90)| > 20) and P(|N(0, 40)| > 20)
    assert capped.tolist() == pytest.approx([0.824, 0.617, 0.824, 0.617], abs=0.02)


def test_the_plan_has_eleven_rounds_of_which_two_are_still():
    places = set()
    for seed in range(200):
        plan = recipe.round_plan(8, 2, seeded(seed))
        assert len(plan) == 10 and sum(plan) == 8 and plan[-1] is False
        places.add(plan.index(False))
    assert places == set(range(9))
    assert recipe.round_plan(3, 1, seeded()) == (True, True, True, False)
    assert recipe.round_plan(2, 0, seeded()) == (True, True)
    assert recipe.round_plan(0, 0, seeded()) == ()


def test_corrections_are_drawn_evenly_from_the_error(true):
    predicted = torch.zeros(2, 16, 16, dtype=torch.bool)
    predicted[0, 2:10, 3:8] = True  # half missed
    predicted[1] = true[1] > 0.5
    predicted[1, 5:9, 0:5] = True  # too much taken
    wrong = predicted ^ (true > 0.5)
    count = torch.zeros(2, 16, 16)
    for seed in range(1500):
        points, labels = recipe.error_points(predicted, true > 0.5, 4.0, seeded(seed))
        assert labels.tolist() == [1, 0]
        cells = ((points + 0.5) / 4).long()
        for i, (x, y) in enumerate(cells.tolist()):
            count[i, y, x] += 1
    assert torch.equal(count > 0, wrong)
    for i in (0, 1):  # Poisson counts: none is far from their mean
        mean = 1500 / wrong[i].sum()
        assert (count[i][wrong[i]] - mean).abs().max() < 5 * mean.sqrt()


def test_an_answer_without_error_gets_a_foreground_point(true):
    for seed in range(20):
        points, labels = recipe.error_points(true > 0.5, true > 0.5, 1.0, seeded(seed))
        assert labels.tolist() == [1, 1]
        cells = (points + 0.5).long()
        assert all(true[i, y, x] == 1 for i, (x, y) in enumerate(cells.tolist()))


def test_focal_loss_by_hand():
    logits = torch.tensor([[[0.0, 2.0], [-1.0, 3.0]]])
    targets = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    p = torch.sigmoid(logits)
    p_t = torch.where(targets > 0, p, 1 - p)
    alpha = torch.where(targets > 0, 0.25, 0.75)
    wanted = (-alpha * (1 - p_t) ** 2 * p_t.log()).mean((-2, -1))
    torch.testing.assert_close(focal_loss(logits, targets), wanted)


def test_focal_to_dice_is_twenty_to_one(true):
    logits = torch.randn(2, 16, 16, generator=seeded())
    wanted = 20 * focal_loss(logits, true) + dice_loss(logits, true)
    torch.testing.assert_close(recipe.focal_dice_loss(logits, true), wanted)


def test_only_the_best_of_three_learns_from_a_lone_point(true):
    logits = torch.stack([sure(true), -sure(true), sure(true) * 0.2, sure(true) * 0.02], dim=1)
    logits.requires_grad_()
    iou = torch.full((2, 4), 0.5, requires_grad=True)
    real = torch.ones(2, dtype=torch.bool)
    loss = recipe.judged(Answered(logits, iou, FIRST), true, real, ambiguous=True)
    each = recipe.focal_dice_loss(logits, true[:, None].expand_as(logits))
    # Thresholded, the second and third of the three are right and the first is wrong.
    rating = F.mse_loss(iou[:, 1:], torch.tensor([[0.0, 1, 1]] * 2))
    torch.testing.assert_close(loss, each[:, 2].mean() + rating)
    loss.backward()
    learns = logits.grad.abs().amax((0, 2, 3)) > 0
    assert learns.tolist() == [False, False, True, False]
    assert (iou.grad.abs() > 0).tolist() == [[False, True, True, True]] * 2


def test_the_single_answer_learns_from_several_prompts(true):
    logits = torch.stack([sure(true) * 0.1, *[sure(true)] * 3], dim=1).requires_grad_()
    iou = torch.full((2, 4), 0.5, requires_grad=True)
    real = torch.ones(2, dtype=torch.bool)
    recipe.judged(Answered(logits, iou, FIRST), true, real, ambiguous=False).backward()
    assert (logits.grad.abs().amax((0, 2, 3)) > 0).tolist() == [True, False, False, False]
    assert (iou.grad.abs() > 0).tolist() == [[True, False, False, False]] * 2
    assert iou.grad[0, 0] == pytest.approx(2 * (0.5 - 1.0) / 2)


def test_what_is_no_object_teaches_its_rating_only(true):
    logits = torch.randn(2, 4, 16, 16, generator=seeded()).requires_grad_()
    iou = torch.full((2, 4), 0.5)
    nothing = torch.zeros(2, dtype=torch.bool)
    loss = recipe.judged(Answered(logits, iou, FIRST), true * 0, nothing, ambiguous=True)
    assert loss == pytest.approx(0.25) and not loss.requires_grad


class Answers:
    """A decoder whose answers are known, and which remembers what it was told."""

    def __init__(self, sam, monkeypatch, masks):
        self.told: list[Told] = []
        self.masks = masks

        def answer(sam, image, told, autocast):
            self.told.append(told)
            turn = len(self.told)
            logits = torch.stack([self.masks * k * turn for k in (4.0, 1.0, 2.0, 3.0)], dim=1)
            iou = torch.tensor([[0.99, 0.2, 0.7, 0.5]]).repeat(len(logits), 1)
            shown = torch.full((len(iou),), 2 if told.is_one_point else 0)
            return Answered(logits, iou, shown)

        monkeypatch.setattr("napari_segment_anything.training.prompting.answers", answer)


@pytest.fixture
def crop():
    labels = torch.zeros(1, 128, 128, dtype=torch.int64)
    labels[0, 20:70, 30:90] = 3
    labels[0, 80:120, 10:60] = 5
    return labels


def rounds_of(crop, monkeypatch, kind, plan):
    sam = build_sam(small_vit_config())
    targets = draw_targets(crop[:, ::4, ::4], 2, seeded(), background=False)
    view, told = begin(sam, torch.zeros(1, 32, 8, 8), crop, targets, kind, seeded(1))
    decoder = Answers(sam, monkeypatch, torch.ones(2, 32, 32))
    judged = []

    def judge(answered, true, real, ambiguous):
        judged.append(ambiguous)
        return answered.logits.sum()

    def correct(predicted, masks, cell_px):
        return recipe.error_points(predicted, masks, cell_px, seeded(2))

    real = torch.ones(2, dtype=torch.bool)
    tally = Tally()
    losses = list(
        prompted_rounds(sam, view, told, real, iter(plan), Rules(judge, correct), kind, tally)
    )
    assert len(losses) == len(plan) + 1 == len(tally.means())
    return decoder.told, judged, view


def test_the_best_rated_mask_is_fed_back_as_it_is(crop, monkeypatch):
    told, judged, _ = rounds_of(crop, monkeypatch, "point", (True, False, True))
    assert judged == [True, False, False, False]
    assert told[0].logits is None and told[0].points_xy.shape[1] == 1
    # Rated best of three is the second (2.0 in the first round), then always the single one.
    assert [t.logits.unique().tolist() for t in told[1:]] == [[2.0], [8.0], [12.0]]
    assert [t.points_xy.shape[1] for t in told] == [1, 2, 2, 3]


def test_a_box_stays_through_all_rounds(crop, monkeypatch):
    told, judged, view = rounds_of(crop, monkeypatch, "box", (True, True))
    assert not any(judged)
    assert all(torch.equal(t.boxes, told[0].boxes) for t in told)
    tight = torch.tensor([[30.0, 20, 90, 70], [10, 80, 60, 120]])
    ids = (view.masks.flatten(1).sum(1) * 16).tolist()  # which object is in which row
    order = [0 if area == 3000 else 1 for area in ids]
    assert ((told[0].boxes - tight[order]).abs() <= 0.3 * 60).all()
    # Everything was taken: corrections lie on the background.
    assert told[1].labels.tolist() == [[0], [0]]


def test_a_square_model_decodes_in_its_whole_embedding(crop):
    targets = draw_targets(crop[:, ::4, ::4], 3, seeded(), background=False)
    assert set(targets.ids.tolist()) == {3, 5}
    features = torch.randn(1, 4, 8, 8)
    extents = torch.tensor([[0.0, 0, 120, 120]]).repeat(3, 1)
    view = Windows(features, crop, targets, extents, 8)
    assert all(torch.equal(row, features[0]) for row in view.features)
    points = torch.tensor([[3.0, 9], [50, 60], [127, 0]])
    assert torch.equal(view.points(points), points)
    for mask, label in zip(view.masks, targets.ids, strict=True):
        covered = F.avg_pool2d((crop == label).float(), 4)[0]
        assert torch.equal(mask, covered)


def test_targets_are_objects_only_unless_background_is_asked_for(crop):
    drawn = [
        draw_targets(crop[:, ::4, ::4], 4, seeded(), background=b).ids.tolist()
        for b in (True, False)
    ]
    assert [ids.count(0) for ids in drawn] == [1, 0]
    assert all(len(ids) == 4 for ids in drawn)
    assert set(drawn[1][:2]) == set(drawn[1][2:]) == {3, 5}


def test_an_empty_crop_is_asked_where_a_model_sees_something():
    labels = torch.zeros(1, 40, 40, dtype=torch.int64)
    foreground = torch.zeros(1, 40, 40)
    foreground[0, 10:14, 20:24] = 3.0
    drawn = [
        draw_targets(labels, 4, torch.Generator().manual_seed(s), foreground=foreground)
        for s in range(20)
    ]
    areas = torch.cat([targets.masks.flatten(1).sum(1) for targets in drawn])
    assert len(areas) == 40 and set(areas.tolist()) == {16, 1600}
    assert 3 < int((areas == 16).sum()) < 20
    tempting = torch.cat([targets.masks for targets in drawn])[areas == 16]
    assert bool(tempting[:, 10:14, 20:24].all())
    assert len(draw_targets(labels, 4, seeded(), background=False).ids) == 0


def test_objects_are_no_tempting_background():
    labels = torch.zeros(1, 40, 40, dtype=torch.int64)
    labels[0, :10, :10] = 7
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        targets = draw_targets(labels, 3, generator, foreground=(labels > 0).float())
        assert targets.ids.tolist() == [7, 7, 0]
        assert not bool((targets.masks[2] & (labels[0] > 0)).any())
        asked = targets.masks[2].sum()
        assert asked in (1500, 1404)  # all that is not labelled, or what is four cells away from it
        assert bool((targets.masks[:2].sum(0) > 0).sum() == 100)
