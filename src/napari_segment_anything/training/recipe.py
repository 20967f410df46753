"""The paper's training algorithm, part by part (Kirillov et al. 2023, arXiv 2304.02643, A.2).

The prompts of an object: a point or a noised box; corrections drawn from the error of the answer;
the last answer's logits, unthresholded, each time; and two rounds in which nothing but that mask
is new. `clicks.noised_boxes` and `prompting.prompted_rounds` are the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .clicks import cells_to_points, sample_cells
from .losses import dice_loss, focal_loss, mask_iou
from .prompting import Answered

FOCAL_TO_DICE = 20.0
MOST_CORRECTIONS = 8
MOST_STILL_ROUNDS = 2

MaskLoss = Callable[[Tensor, Tensor], Tensor]
"""(..., h, w) logits and targets -> (...) loss of each mask."""


def first_kinds(count: int, box_part: float, generator: torch.Generator) -> Tensor:
    """Which of ``count`` objects begin with a box, (count,) bool; the others begin with a point.

    A.2, "Training algorithm": with equal probability in the paper.
    """
    return torch.rand(count, generator=generator) < box_part


def round_plan(corrections: int, still_rounds: int, generator: torch.Generator) -> tuple[bool, ...]:
    """Of each round after the first, whether it brings a new point.

    A.2: eight points, and two rounds without, in which the model only refines its own mask: one at
    the end and one anywhere among the others. With ``still_rounds`` 1 only that at the end.
    """
    plan = [True] * corrections
    if still_rounds > 1:
        plan.insert(int(torch.randint(0, corrections + 1, (1,), generator=generator)), False)
    return (*plan, *[False] * min(1, still_rounds))


def error_points(
    predicted: Tensor, masks: Tensor, cell_px: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The next click of each object, drawn evenly from the region where the answer is wrong.

    A.2: foreground where the object was missed, background where too much was taken. An answer
    without error gets another foreground point.

    Args:
        predicted: (N, h, w) bool answers.
        masks: (N, h, w) bool truth.
        cell_px: model pixels along a side of a cell.
        generator: decides.

    Returns:
        Points (N, 2) in model pixels and labels (N,), 1 foreground, 0 background.
    """
    error = predicted ^ masks
    perfect = ~error.flatten(1).any(1)
    cells = sample_cells(torch.where(perfect[:, None, None], masks, error).float(), generator)
    labels = masks.flatten(1).gather(1, cells[:, None])[:, 0].to(torch.int64)
    return cells_to_points(cells, masks.shape[-1], cell_px), labels


def focal_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., h, w) -> (...) focal and Dice loss, 20 : 1 (A.2, "Losses")."""
    return FOCAL_TO_DICE * focal_loss(logits, targets) + dice_loss(logits, targets)


def judged(
    answered: Answered,
    true: Tensor,
    real: Tensor,
    ambiguous: bool,
    mask_loss: MaskLoss = focal_dice_loss,
) -> Tensor:
    """Loss of one round, mean over its objects.

    A.1, "Resolving ambiguity": of the three answers to a lone first point only the best one, that
    of the smallest loss, is trained; with more to go by the single answer is. A.2, "Losses": the
    ratings of the answers that were asked for learn their IoU by squared error, at weight 1.

    Args:
        answered: the masks and their ratings.
        true: (N, h, w) part of each cell that the object covers.
        real: (N,) bool; rows that are no objects teach their ratings only, towards 0.
        ambiguous: the prompt is a lone first point.
        mask_loss: of each answer.
    """
    asked = slice(1, None) if ambiguous else slice(0, 1)
    logits, iou = answered.logits[:, asked], answered.iou[:, asked]
    wanted = true[:, None].expand_as(logits)
    rating = F.mse_loss(iou, mask_iou(logits, wanted).detach() * real[:, None])
    if not bool(real.any()):
        return rating
    return mask_loss(logits[real], wanted[real]).min(dim=1).values.mean() + rating
