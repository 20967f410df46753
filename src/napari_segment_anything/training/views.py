"""Objects of training crops, and the windows of the feature map in which they are decoded.

All of it lies where the labels do, which is also where the ``generator`` draws. With labels on the
CPU a seed gives the same prompts for a model on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..inference.windows import Window, WindowGrid, cut_window
from .clicks import tight_boxes

TEMPTED_PART = 0.25
"""How many of a background's prompts lie where it misleads most: more make every mask doubted."""

TEMPTING_PART = 0.01
"""How much of a background its most misleading places are."""

RIM_CELLS = 4
"""How far around an object its background is no misleading place."""

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
        """The rows at ``keep``, (N,) bool."""
        at = keep.nonzero()[:, 0]
        return Targets(self.crop[at], self.ids[at], self.masks[at])


def draw_targets(
    labels: Tensor,
    per_crop: int,
    generator: torch.Generator,
    background: bool = True,
    foreground: Tensor | None = None,
) -> Targets:
    """(B, h, w) labels at low-res size -> ``per_crop`` rows a crop, one of them ``background``.

    A crop without objects has half as many rows, of its background, or none. `TEMPTED_PART` of the
    background's rows lie where a model takes it for ``foreground``, (B, h, w) of any unit.
    """
    where = labels.device
    cells = _cells_by_id(labels)
    is_object = cells >= MIN_OBJECT_CELLS
    is_object[:, 0] = False
    drawn = _in_any_order(is_object, per_crop - int(background), generator)
    asked = drawn > 0
    if background:
        turns = torch.arange(max(1, per_crop // 2), device=where).expand(len(labels), -1)
        is_turn = (turns == 0) | ~is_object.any(1, keepdim=True)
        drawn = torch.cat([drawn, torch.zeros_like(turns)], dim=1)
        asked = torch.cat([asked, is_turn & (cells[:, :1] > 0)], dim=1)
    crop, column = asked.nonzero(as_tuple=True)
    chosen = drawn[crop, column]
    masks = labels[crop] == chosen[:, None, None]
    if foreground is not None:
        doubts = torch.rand(len(crop), generator=generator, device=where)
        for row in ((chosen == 0) & (doubts < TEMPTED_PART)).nonzero()[:, 0].tolist():
            masks[row] = tempting(masks[row], foreground[crop[row]])
    return Targets(crop, chosen, masks)


def _cells_by_id(labels: Tensor) -> Tensor:
    """(B, h, w) labels -> (B, ids), how many cells each id from 0 has in each crop."""
    flat = labels.flatten(1).long()
    cells = flat.new_zeros(len(flat), int(flat.max()) + 1)
    return cells.scatter_add_(1, flat, torch.ones_like(flat))


def _in_any_order(is_object: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """(B, ids) bool -> (B, most) ids, shuffled, and again from the first; 0 where there is none."""
    count = is_object.sum(1, keepdim=True)
    chance = torch.rand(is_object.shape, generator=generator, device=is_object.device)
    order = chance.masked_fill(~is_object, -1).argsort(1, descending=True)
    turns = torch.arange(most, device=is_object.device) % count.clamp(min=1)
    return order.gather(1, turns) * (count > 0)


def tempting(background: Tensor, foreground: Tensor) -> Tensor:
    """(h, w) bool background -> the part of it with the highest predicted ``foreground``.

    Not the rims of objects, which a person may well click; all of it if there is nothing else.
    """
    objects = (~background).float()[None]
    away = F.max_pool2d(objects, 2 * RIM_CELLS + 1, 1, RIM_CELLS)[0] == 0
    if not bool(away.any()):
        return background
    return away & (foreground >= foreground[away].quantile(1 - TEMPTING_PART))


class Windows:
    """Decode windows of some rows: features, true masks and the way from crop to window.

    A square encoder's window is its whole embedding.
    """

    def __init__(
        self, features: Tensor, labels: Tensor, targets: Targets, extents: Tensor, side: int
    ) -> None:
        cell_px = labels.shape[-1] // features.shape[-1]
        self.grid = WindowGrid((features.shape[-2], features.shape[-1]), cell_px, side)
        true_boxes = tight_boxes(targets.masks, labels.shape[-1] / targets.masks.shape[-1])
        sizes = (true_boxes[:, 2:] - true_boxes[:, :2]).amax(1).tolist()
        crops, ids = targets.crop.tolist(), targets.ids.tolist()
        # Cut apart once: the gradient of a part of the whole is as large as the whole.
        maps = features.split(1)
        self.windows, cut, masks = [], [], []
        rows = zip(crops, ids, sizes, extents.double().cpu().numpy(), strict=True)
        for crop, label, size, extent in rows:
            outgrows = label > 0 and size > 0.85 * side * cell_px
            window = self.grid.around(extent, min(int(outgrows), self.grid.top_level))
            self.windows.append(window)
            cut.append(cut_window(maps[crop], window, side))
            masks.append(self._true_mask(labels[crop], label, window))
        self.features = torch.cat(cut)
        self.masks = self._covered(masks)

    def _true_mask(self, labels: Tensor, label: int, window: Window) -> Tensor:
        """(S, S) labels of a crop -> (n, n) bool, the object's pixels in a window of n pixels.

        Label 0 is no object and has none.
        """
        rows, cols = self.grid.span_px(window)
        part = (labels[rows, cols] == label) & (label > 0)
        covered = rows.stop - rows.start
        missing = (0, covered - part.shape[1], 0, covered - part.shape[0])
        return F.pad(part, missing) if any(missing) else part

    def _covered(self, masks: Sequence[Tensor]) -> Tensor:
        """(n, n) bool of each window -> (N, 4 side, 4 side), part of each window cell covered."""
        out = masks[0].new_zeros(len(masks), 4 * self.grid.side, 4 * self.grid.side).float()
        for level in {window.level for window in self.windows}:
            at = [row for row, window in enumerate(self.windows) if window.level == level]
            alike = torch.stack([masks[row] for row in at]).float()
            out[at] = F.avg_pool2d(alike, alike.shape[-1] // out.shape[-1])
        return out

    def points(self, points_xy: Tensor) -> Tensor:
        """(N, 2) crop pixels -> (N, 2) pixels of each row's window."""
        moved = [
            self.grid.to_window_px(p, w)
            for p, w in zip(points_xy.double().cpu().numpy(), self.windows, strict=True)
        ]
        return torch.from_numpy(np.stack(moved)).to(points_xy.device, torch.float32)

    def boxes(self, boxes_xyxy: Tensor) -> Tensor:
        """(N, 4) crop pixels -> (N, 4) pixels of each row's window."""
        return torch.cat([self.points(boxes_xyxy[:, :2]), self.points(boxes_xyxy[:, 2:])], dim=1)
