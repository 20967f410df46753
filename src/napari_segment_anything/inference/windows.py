"""Which part of the feature map a prompt is decoded in.

A ViT's decoder sees the whole square. `nano` encodes a field of any size in one pass, and decodes
each prompt in a square window cut out around it: the cost of a click does not depend on the image,
and the object is as large for the decoder in a big field as in a small one. For an object that
outgrows the window the features are pooled, which doubles its side at each ``level``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

FILL = 0.75
"""A prompt's extent may take this part of a window's side before the next level is used."""


@dataclass(frozen=True)
class Window:
    """A square of the feature map: first cell (y, x), and 2**level cells pooled into one."""

    origin_yx: tuple[int, int]
    level: int = 0

    @property
    def pool(self) -> int:
        """Feature cells along one side of a decoder cell."""
        return 1 << self.level


@dataclass(frozen=True)
class WindowGrid:
    """Feature map of ``field_hw`` cells of ``cell_px`` model pixels; windows are ``side`` cells."""

    field_hw: tuple[int, int]
    cell_px: int
    side: int

    def level_for(self, extent_px: float) -> int:
        """Smallest level at which ``extent_px`` model pixels fit; the last one sees it all."""
        room = self.side * self.cell_px
        level = 0
        while extent_px > FILL * room * (1 << level) and level < self.top_level:
            level += 1
        return level

    @property
    def top_level(self) -> int:
        """The level whose window covers the whole field."""
        longest = max(self.field_hw)
        return max(0, int(np.ceil(np.log2(longest / self.side)))) if longest > self.side else 0

    def around(self, extent_xyxy: NDArray[np.floating], level: int) -> Window:
        """Window centred on an extent in model pixels, moved to lie inside the field."""
        covered = self.side << level
        origin = []
        for axis, cells in ((1, self.field_hw[0]), (0, self.field_hw[1])):
            middle = (extent_xyxy[axis] + extent_xyxy[axis + 2]) / 2 / self.cell_px
            start = int(np.floor(middle - covered / 2 + 0.5))
            origin.append(int(np.clip(start, 0, max(0, cells - covered))))
        return Window((origin[0], origin[1]), level)

    def to_window_px(self, points_xy: NDArray[np.floating], window: Window) -> NDArray[np.float64]:
        """(..., 2) model pixels -> (..., 2) pixels of the decoder's square."""
        origin_xy = np.asarray(window.origin_yx[::-1], np.float64) * self.cell_px
        return (np.asarray(points_xy, np.float64) - origin_xy) / window.pool

    def span_px(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of model pixels that the window covers, also beyond the field."""
        y, x = (o * self.cell_px for o in window.origin_yx)
        covered = (self.side << window.level) * self.cell_px
        return slice(y, y + covered), slice(x, x + covered)


def cut_window(features: Tensor, window: Window, side: int) -> Tensor:
    """(1, C, h, w) feature map -> (1, C, side, side); cells beyond the field are zero."""
    covered = side << window.level
    y, x = window.origin_yx
    cut = features[..., y : y + covered, x : x + covered]
    missing_h, missing_w = covered - cut.shape[-2], covered - cut.shape[-1]
    if missing_h or missing_w:
        cut = F.pad(cut, (0, missing_w, 0, missing_h))
    if window.level:
        cut = F.avg_pool2d(cut, window.pool)
    return cut


def cut_windows(features: Tensor, windows: list[Window], side: int) -> Tensor:
    """One window per prompt out of one feature map: (1, C, h, w) -> (B, C, side, side)."""
    if len(windows) == 1:  # a view: the same memory for every prompt in it
        return cut_window(features, windows[0], side)
    return torch.cat([cut_window(features, window, side) for window in windows])
