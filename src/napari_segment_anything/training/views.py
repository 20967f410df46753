"""Objects of training crops, and the windows of the feature map in which they are decoded.

Masks, labels and the draw of targets stay on the CPU, so that a seed gives the same prompts on
every device; what meets the features goes where they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..inference.windows import WindowGrid, cut_window
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
        """The rows at ``keep``."""
        return Targets(self.crop[keep], self.ids[keep], self.masks[keep])


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
    objects_per_crop = per_crop - int(background)
    crop, ids, masks = [], [], []
    for b, plane in enumerate(labels):
        present, counts = torch.unique(plane, return_counts=True)
        nothing = plane == 0
        objects = present[(present > 0) & (counts >= MIN_OBJECT_CELLS)]
        drawn = objects
        if len(objects):
            order = torch.randperm(len(objects), generator=generator)
            drawn = objects[order[torch.arange(objects_per_crop) % len(objects)]]
        if background and bool(nothing.any()):
            count = 1 if len(objects) else max(1, per_crop // 2)
            drawn = torch.cat([drawn, drawn.new_zeros(count)])
        places = plane[None] == drawn[:, None, None]
        if foreground is not None:
            deceived = (drawn == 0) & (torch.rand(len(drawn), generator=generator) < TEMPTED_PART)
            places[deceived] = tempting(nothing, foreground[b])
        crop.append(torch.full((len(drawn),), b))
        ids.append(drawn)
        masks.append(places)
    return Targets(torch.cat(crop), torch.cat(ids), torch.cat(masks))


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
        self.windows, cut, masks = [], [], []
        true_boxes = tight_boxes(targets.masks, labels.shape[-1] / targets.masks.shape[-1])
        sizes = (true_boxes[:, 2:] - true_boxes[:, :2]).amax(1).tolist()
        room = side * cell_px
        for row, (size, extent) in enumerate(zip(sizes, extents.double().numpy(), strict=True)):
            outgrows = bool(targets.ids[row] > 0) and size > 0.85 * room
            level = min(int(outgrows), self.grid.top_level)
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
