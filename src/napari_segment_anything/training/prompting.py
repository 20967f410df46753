"""Simulated interactive segmentation: the training task of Segment Anything (A.2).

A point, a loose box or a rough mask comes first; then corrections are drawn from the error of the
answer, whose logits are fed back. The loss of all rounds is summed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..inference.windows import WindowGrid, cut_window
from ..modeling.sam import Sam
from .clicks import correction_points, first_points, noised_boxes, tight_boxes
from .losses import mask_iou, mask_loss

FIRST_PROMPTS = {"point": 0.5, "box": 0.38, "mask": 0.12}
MIN_OBJECT_CELLS = 8


@dataclass(frozen=True)
class Targets:
    """Objects drawn from a batch of crops, one row each.

    ``crop`` (N,) index into the batch, ``masks`` (N, h, w) bool at low-res size over the whole
    crop, ``ids`` (N,) label; id 0 marks a background row, whose every answer is wrong.
    """

    crop: Tensor
    ids: Tensor
    masks: Tensor

    def rows(self, keep: Tensor) -> Targets:
        """The rows at ``keep``."""
        return Targets(self.crop[keep], self.ids[keep], self.masks[keep])


@dataclass
class Tally:
    """Sums of what a step measured, by name."""

    total: dict[str, float] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, values: Tensor) -> None:
        """Add all of ``values`` under ``name``."""
        self.total[name] = self.total.get(name, 0.0) + float(values.sum())
        self.count[name] = self.count.get(name, 0) + values.numel()

    def means(self) -> dict[str, float]:
        """Mean of each name."""
        return {k: self.total[k] / max(1, self.count[k]) for k in self.total}


def draw_targets(labels: Tensor, per_crop: int, generator: torch.Generator) -> Targets:
    """(B, h, w) labels at low-res size -> ``per_crop`` rows a crop, one of them background."""
    crop, ids, masks = [], [], []
    for b, plane in enumerate(labels):
        present, counts = torch.unique(plane, return_counts=True)
        objects = present[(present > 0) & (counts >= MIN_OBJECT_CELLS)]
        if len(objects) == 0:
            continue
        order = torch.randperm(len(objects), generator=generator)
        drawn = objects[order[torch.arange(per_crop - 1) % len(objects)]]
        drawn = torch.cat([drawn, drawn.new_zeros(1)]) if bool((plane == 0).any()) else drawn
        crop.append(torch.full((len(drawn),), b))
        ids.append(drawn)
        masks.append(plane[None] == drawn[:, None, None])
    if not crop:
        size = labels.shape[1:]
        return Targets(torch.zeros(0).long(), torch.zeros(0).long(), torch.zeros(0, *size).bool())
    return Targets(torch.cat(crop), torch.cat(ids), torch.cat(masks))


def rough_masks(masks: Tensor, generator: torch.Generator) -> Tensor:
    """(N, h, w) bool -> (N, h, w) float logits of a mask drawn badly: shifted, grown or shrunk."""
    out = []
    for mask in masks[:, None].float():
        radius = int(torch.randint(0, 3, (1,), generator=generator))
        if radius:
            grown = F.max_pool2d(mask, 2 * radius + 1, 1, radius)
            shrunk = -F.max_pool2d(-mask, 2 * radius + 1, 1, radius)
            coin = bool(torch.rand(1, generator=generator) < 0.5) and bool(shrunk.any())
            mask = shrunk if coin else grown
        shift = torch.randint(-2, 3, (2,), generator=generator).tolist()
        out.append(torch.roll(mask, shift, (1, 2))[0])
    return torch.stack(out) * 20 - 10


class Windows:
    """Decode windows of some rows: features, true masks and the way from crop to window."""

    def __init__(
        self, features: Tensor, labels: Tensor, targets: Targets, extents: Tensor, side: int
    ) -> None:
        cell_px = labels.shape[-1] // features.shape[-1]
        self.grid = WindowGrid((features.shape[-2], features.shape[-1]), cell_px, side)
        self.windows, cut, masks = [], [], []
        true_boxes = tight_boxes(targets.masks, labels.shape[-1] / targets.masks.shape[-1])
        sizes = (true_boxes[:, 2:] - true_boxes[:, :2]).amax(1).tolist()
        room = side * cell_px
        for row, (size, extent) in enumerate(zip(sizes, extents.double().numpy(), strict=True)):
            level = 0 if targets.ids[row] == 0 else int(size > 0.85 * room)
            window = self.grid.around(extent, level)
            b = int(targets.crop[row])
            self.windows.append(window)
            cut.append(cut_window(features[b : b + 1], window, side))
            masks.append(self._true_mask(labels[b] == targets.ids[row], row))
        self.features = torch.cat(cut)
        self.masks = torch.stack(masks)
        if len(targets.ids):
            self.masks = self.masks * (targets.ids > 0)[:, None, None]

    def _true_mask(self, mask: Tensor, row: int) -> Tensor:
        """(S, S) bool over the crop -> (4 side, 4 side) part of each window cell covered."""
        window = self.windows[row]
        rows, cols = self.grid.span_px(window)
        part = mask[rows, cols].float()
        covered = rows.stop - rows.start
        part = F.pad(part, (0, covered - part.shape[1], 0, covered - part.shape[0]))
        pool = covered // (4 * self.grid.side)
        return F.avg_pool2d(part[None, None], pool)[0, 0]

    def points(self, points_xy: Tensor) -> Tensor:
        """(N, 2) crop pixels -> (N, 2) pixels of each row's window."""
        moved = [
            self.grid.to_window_px(p, w)
            for p, w in zip(points_xy.double().numpy(), self.windows, strict=True)
        ]
        return torch.from_numpy(np.stack(moved)).float()

    def boxes(self, boxes_xyxy: Tensor) -> Tensor:
        """(N, 4) crop pixels -> (N, 4) pixels of each row's window."""
        return torch.cat([self.points(boxes_xyxy[:, :2]), self.points(boxes_xyxy[:, 2:])], dim=1)


def first_prompts(
    kind: str, targets: Targets, cell_px: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """First prompt of each row in crop pixels: its points or boxes, and its extent (N, 4)."""
    if kind == "point":
        points = first_points(targets.masks, cell_px, generator)
        return points, points.repeat(1, 2)
    boxes = tight_boxes(targets.masks, cell_px)
    if kind == "box":
        boxes = noised_boxes(boxes, generator)
    return boxes, boxes


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
    """Loss summed over ``rounds`` of prompting all rows, each starting with a ``kind`` prompt."""
    side = sam.prompt_encoder.image_embedding_size[0]
    field_cell = labels.shape[-1] / targets.masks.shape[-1]
    first, extents = first_prompts(kind, targets, field_cell, generator)
    view = Windows(features, labels, targets, extents, side)
    low_px = sam.prompt_encoder.input_image_size[0] / view.masks.shape[-1]
    image, true = view.features, view.masks
    real = targets.ids > 0
    coords = torch.zeros(len(first), 0, 2)
    point_labels = torch.zeros(len(first), 0, dtype=torch.int64)
    boxes = previous = None
    if kind == "point":
        coords = view.points(first)[:, None]
        point_labels = torch.ones(len(first), 1, dtype=torch.int64)
    elif kind == "box":
        boxes = view.boxes(first)
    else:
        previous = rough_masks(true > 0.5, generator)[:, None]
    loss = features.new_zeros(())
    for turn in range(rounds):
        points = (coords, point_labels) if coords.shape[1] else None
        sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=previous)
        logits, iou = sam.mask_decoder.predict_masks(
            image, sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        logits, iou = logits.float(), iou.float()
        ambiguous = kind == "point" and turn == 0
        loss = loss + round_loss(logits, iou, true, real, ambiguous)
        answer = best_answer(logits, iou, ambiguous).detach()
        tally.add(f"{kind} {turn}", mask_iou(answer, true)[real])
        if turn + 1 == rounds or not bool(real.any()):
            break
        image, true, coords, point_labels = (
            image[real],
            true[real],
            coords[real],
            point_labels[real],
        )
        boxes = None if boxes is None else boxes[real]
        previous = answer[real][:, None]
        real = real[real]
        if turn == 0 or float(torch.rand((), generator=generator)) < 0.85:
            new, sign = correction_points(previous[:, 0] > 0, true > 0.5, low_px, generator)
            coords = torch.cat([coords, new[:, None]], dim=1)
            point_labels = torch.cat([point_labels, sign[:, None]], dim=1)
    return loss


def best_answer(logits: Tensor, iou: Tensor, ambiguous: bool) -> Tensor:
    """(N, 4, h, w), (N, 4) -> (N, h, w): of three masks the best rated, else the single one."""
    if not ambiguous:
        return logits[:, 0]
    best = iou[:, 1:].argmax(1) + 1
    return logits[torch.arange(len(logits)), best]


def round_loss(logits: Tensor, iou: Tensor, true: Tensor, real: Tensor, ambiguous: bool) -> Tensor:
    """Mean loss of one round over its rows.

    An ambiguous prompt trains the best of the three masks (and, a little, the others, so that none
    dies); any other trains the single mask. The IoU head learns all four; background rows train
    it alone, towards 0.
    """
    tokens = true[:, None].expand_as(logits)
    true_iou = mask_iou(logits, tokens).detach() * real[:, None]
    rating = F.l1_loss(iou, true_iou)
    if not bool(real.any()):
        return rating
    each = mask_loss(logits[real], tokens[real])
    three = each[:, 1:].min(dim=1).values + 0.05 * each[:, 1:].mean(dim=1)
    weight = (0.5, 1.0) if ambiguous else (1.0, 0.25)
    return (weight[0] * each[:, 0] + weight[1] * three).mean() + rating
