"""Simulated interactive segmentation: the training task of Segment Anything (A.2).

A point, a loose box or a rough mask comes first; then corrections are drawn from the error of the
answer, whose logits are fed back. `prompted_rounds` is that loop; `interactive_loss` is how `nano`
is trained in it, `recipe` has the paper's way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modeling.sam import Sam
from .clicks import BOX_NOISE, correction_points, first_points, noised_boxes, tight_boxes
from .losses import mask_iou, mask_loss
from .views import Targets, Windows

FIRST_PROMPTS = {"point": 0.5, "box": 0.38, "mask": 0.12}
SHOWN_WEIGHT = 0.5
"""How much the mask that a person would see counts beside the best one."""


@dataclass(frozen=True)
class Answered:
    """What a model answers of N objects.

    ``logits`` (N, 4, h, w), the single mask first; ``iou`` (N, 4), predicted before they are drawn;
    ``shown`` (N,), which of them a person would see. ``rated`` (N, 3) is the second rating of an
    ambiguous prompt's masks, by a model that has one.
    """

    logits: Tensor
    iou: Tensor
    shown: Tensor
    rated: Tensor | None = None

    def of_shown(self, values: Tensor) -> Tensor:
        """(N, 4, ...) -> (N, ...), those of the shown masks."""
        return values[torch.arange(len(self.shown), device=values.device), self.shown]

    def rows(self, keep: Tensor) -> Answered:
        """Those of the objects at ``keep``."""
        rated = None if self.rated is None else self.rated[keep]
        return Answered(self.logits[keep], self.iou[keep], self.shown[keep], rated)


@dataclass(frozen=True)
class Rules:
    """How answers are judged and corrected.

    ``judge(answered, true, real, ambiguous)`` is one round's loss, as `round_loss`;
    ``correct(predicted, masks, cell_px)`` gives the next points and their labels, as
    `correction_points`; ``autocast()`` is the context in which the decoder computes.
    """

    judge: Callable[[Answered, Tensor, Tensor, bool], Tensor]
    correct: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext


@dataclass
class Tally:
    """Sums of what a step measured, by name."""

    total: dict[str, Tensor] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        """Add all of ``values`` under ``name``."""
        # Not read yet: whoever reads a number off a device waits until all before it is done.
        self.total[name] = self.total.get(name, 0) + values.detach().sum()
        self.count[name] = self.count.get(name, 0) + values.numel()

    def means(self) -> dict[str, float]:
        """Mean of each name."""
        return {k: float(self.total[k]) / max(1, self.count[k]) for k in self.total}


@dataclass(frozen=True)
class Told:
    """What the model has been told of N objects, in the pixels of their windows.

    ``points_xy`` (N, K, 2) with ``labels`` (N, K), 1 foreground, 0 background; ``boxes`` (N, 4);
    ``logits`` (N, 1, h, w), drawn or of the last answer.
    """

    points_xy: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    logits: Tensor | None = None

    @property
    def is_one_point(self) -> bool:
        """True if a lone first point is all there is: it may mean a part as well as the whole."""
        return self.points_xy.shape[1] == 1 and self.boxes is None and self.logits is None

    def rows(self, keep: Tensor) -> Told:
        """The objects at ``keep``."""
        boxes = None if self.boxes is None else self.boxes[keep]
        logits = None if self.logits is None else self.logits[keep]
        return Told(self.points_xy[keep], self.labels[keep], boxes, logits)

    def with_points(self, points_xy: Tensor, labels: Tensor) -> Told:
        """One more point an object, (N, 2) with labels (N,)."""
        points = torch.cat([self.points_xy, points_xy[:, None]], dim=1)
        return replace(self, points_xy=points, labels=torch.cat([self.labels, labels[:, None]], 1))


def rough_masks(masks: Tensor, generator: torch.Generator) -> Tensor:
    """(N, h, w) bool -> (N, h, w) float logits of a mask drawn badly: shifted, grown or shrunk."""
    count, out = len(masks), []
    draw = partial(torch.randint, generator=generator, device=masks.device)
    radii, shrinks = draw(0, 3, (count,)).tolist(), draw(0, 2, (count,)).tolist()
    shifts = draw(-2, 3, (count, 2)).tolist()
    for mask, radius, shrink, shift in zip(
        masks[:, None].float(), radii, shrinks, shifts, strict=True
    ):
        changed = F.max_pool2d(mask, 2 * radius + 1, 1, radius)
        if shrink:
            shrunk = -F.max_pool2d(-mask, 2 * radius + 1, 1, radius)
            changed = torch.where(shrunk.any(), shrunk, changed)
        out.append(torch.roll(changed, shift, (1, 2))[0])
    return torch.stack(out) * 20 - 10


def first_prompts(
    kind: str,
    targets: Targets,
    cell_px: float,
    generator: torch.Generator,
    box_noise: float | Tensor = BOX_NOISE,
) -> tuple[Tensor, Tensor]:
    """First prompt of each row in crop pixels: its points or boxes, and its extent (N, 4)."""
    if kind == "point":
        points = first_points(targets.masks, cell_px, generator)
        return points, points.repeat(1, 2)
    boxes = tight_boxes(targets.masks, cell_px)
    if kind == "box":
        boxes = noised_boxes(boxes, generator, box_noise)
    return boxes, boxes


def begin(
    sam: Sam,
    features: Tensor,
    labels: Tensor,
    targets: Targets,
    kind: str,
    generator: torch.Generator,
    box_noise: float | Tensor = BOX_NOISE,
) -> tuple[Windows, Told]:
    """Windows around the first ``kind`` prompts of all rows, and what they tell.

    ``features`` (B, C, h, w) of crops with ``labels`` (B, S, S); ``box_noise`` as the ``part`` of
    `noised_boxes`.
    """
    side = sam.prompt_encoder.image_embedding_size[0]
    field_cell = labels.shape[-1] / targets.masks.shape[-1]
    first, extents = first_prompts(kind, targets, field_cell, generator, box_noise)
    view = Windows(features, labels, targets, extents, side)
    none = first.new_zeros(len(first), 0, 2), targets.ids.new_zeros(len(first), 0)
    if kind == "point":
        return view, Told(view.points(first)[:, None], targets.ids.new_ones(len(first), 1))
    if kind == "box":
        return view, Told(*none, boxes=view.boxes(first))
    return view, Told(*none, logits=rough_masks(view.masks > 0.5, generator)[:, None])


def answers(
    sam: Sam, image: Tensor, told: Told, autocast: Callable[[], AbstractContextManager[object]]
) -> Answered:
    """All four masks of each object and their ratings, as float.

    Of an ambiguous prompt the best rated of three masks is shown, else the single one. Prompts are
    encoded outside of ``autocast``: half precision would move them by pixels.
    """
    where = image.device
    points = None
    if told.points_xy.shape[1]:
        points = told.points_xy.to(where), told.labels.to(where)
    boxes = None if told.boxes is None else told.boxes.to(where)
    logits = None if told.logits is None else told.logits.to(where)
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=logits)
    code = sam.prompt_encoder.get_dense_pe()
    with autocast():
        drawn = sam.mask_decoder.predict_masks(image, code, sparse, dense)
    masks, iou = drawn.logits.float(), drawn.iou.float()
    if not told.is_one_point:
        return Answered(masks, iou, torch.zeros(len(iou), dtype=torch.int64, device=where))
    again = sam.mask_decoder.rated_again(drawn.token, iou[:, 1:], masks[:, 1:])
    rated = None if sam.mask_decoder.rater is None else again
    return Answered(masks, iou, 1 + again.argmax(1), rated)


def prompted_rounds(
    sam: Sam,
    view: Windows,
    told: Told,
    real: Tensor,
    more: Iterator[bool],
    rules: Rules,
    name: str,
    tally: Tally,
) -> Iterator[Tensor]:
    """Losses of one round after the other; each may go backward before the next is asked for.

    Args:
        sam: the model.
        view: where the objects are decoded.
        told: their first prompts.
        real: (N,) bool; rows that are no objects are asked in the first round only.
        more: before each further round, whether it comes with a new point.
        rules: how answers are judged and corrected.
        name: what the rounds' IoU is called in ``tally``.
        tally: takes the IoU of each round's answers.
    """
    low_px = sam.prompt_encoder.input_image_size[0] / view.masks.shape[-1]
    where = view.features.device
    rows = torch.arange(len(real), device=real.device)
    for turn in itertools.count():
        true = view.masks[rows].to(where)
        ambiguous = told.is_one_point
        answered = answers(sam, view.features[rows.to(where)], told, rules.autocast)
        loss = rules.judge(answered, true, real.to(where), ambiguous)
        if answered.rated is not None:
            loss = loss + rater_loss(answered.rated, answered.logits, true, real.to(where))
        yield loss
        answer = answered.of_shown(answered.logits).detach()
        tally.add(f"{name} {turn}", mask_iou(answer, true)[real.to(where)])
        new_point = next(more, None)
        if new_point is None or not bool(real.any()):
            return
        previous = answer[real.to(where)]
        rows, told = rows[real], replace(told.rows(real), logits=previous[:, None])
        real = real[real]
        if new_point:
            wanted = view.masks[rows] > 0.5
            seen = (previous > 0).to(wanted.device)
            told = told.with_points(*rules.correct(seen, wanted, low_px))


def interactive_loss(
    sam: Sam,
    features: Tensor,
    labels: Tensor,
    targets: Targets,
    kind: str,
    rounds: int,
    generator: torch.Generator,
    tally: Tally,
) -> Tensor:
    """`nano`'s loss, summed over ``rounds`` of prompting all rows, starting with a ``kind``.

    Boxes are as often tight as loose: some are drawn by hand, some come out of a detector.
    """
    draw = partial(torch.rand, generator=generator, device=labels.device)
    box_noise = BOX_NOISE * draw(len(targets.ids), 1)
    view, told = begin(sam, features, labels, targets, kind, generator, box_noise)

    def more() -> Iterator[bool]:
        for turn in range(rounds - 1):
            yield turn == 0 or float(draw(())) < 0.85

    rules = Rules(round_loss, partial(correction_points, generator=generator))
    losses = prompted_rounds(sam, view, told, targets.ids > 0, more(), rules, kind, tally)
    return sum(losses, features.new_zeros(()))


def rater_loss(rated: Tensor, logits: Tensor, true: Tensor, real: Tensor) -> Tensor:
    """How far three of four masks' second ratings (N, 3) are from their IoU with ``true``.

    ``logits`` (N, 4, h, w), ``true`` (N, h, w); the IoU of rows that are not ``real`` is 0.
    """
    three = logits[:, 1:].detach()
    true_iou = mask_iou(three, true[:, None].expand_as(three)) * real[:, None]
    return F.l1_loss(rated, true_iou)


def round_loss(answered: Answered, true: Tensor, real: Tensor, ambiguous: bool) -> Tensor:
    """Mean loss of one round over its rows.

    An ambiguous prompt trains the best of the three masks, somewhat the one that is shown, and a
    little the others, so that none dies; any other trains the single mask. The IoU head learns all
    four; background rows train it alone, towards 0.
    """
    tokens = true[:, None].expand_as(answered.logits)
    true_iou = mask_iou(answered.logits, tokens).detach() * real[:, None]
    rating = F.l1_loss(answered.iou, true_iou)
    if not bool(real.any()):
        return rating
    drawn = answered.rows(real)
    each = mask_loss(drawn.logits, tokens[real])
    best = each[:, 1:].min(dim=1).values + 0.05 * each[:, 1:].mean(dim=1)
    if ambiguous:
        loss = 0.5 * each[:, 0] + best + SHOWN_WEIGHT * drawn.of_shown(each)
    else:
        loss = each[:, 0] + 0.25 * best
    return loss.mean() + rating
