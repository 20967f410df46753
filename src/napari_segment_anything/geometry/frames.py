"""Image pixels <-> model pixels: the only place where a prompt changes frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageFrame:
    """Place of an image in the canvas that a model's encoder sees.

    The image, ``size_hw`` pixels, is resized to ``resized_hw`` and padded at right
    and bottom to ``canvas_hw``; the last two are in model pixels.
    """

    size_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    canvas_hw: tuple[int, int]

    @classmethod
    def fit_square(cls, size_hw: tuple[int, int], model_px: int = 1024) -> ImageFrame:
        """Long side to ``model_px``, canvas a square of that side (Segment Anything, A.1)."""
        h, w = _checked_size(size_hw)
        scale = model_px / max(h, w)
        resized = (max(1, int(h * scale + 0.5)), max(1, int(w * scale + 0.5)))
        return cls((h, w), resized, (model_px, model_px))

    @classmethod
    def fit_zoom(cls, size_hw: tuple[int, int], zoom: float, multiple: int) -> ImageFrame:
        """Both sides times ``zoom``, canvas rounded up to a multiple of ``multiple`` pixels."""
        h, w = _checked_size(size_hw)
        resized = (max(1, int(h * zoom + 0.5)), max(1, int(w * zoom + 0.5)))
        canvas = (-(-resized[0] // multiple) * multiple, -(-resized[1] // multiple) * multiple)
        return cls((h, w), resized, canvas)

    @property
    def scale_xy(self) -> tuple[float, float]:
        """Model pixels per image pixel; sides are rounded, so x and y differ slightly."""
        return self.resized_hw[1] / self.size_hw[1], self.resized_hw[0] / self.size_hw[0]

    def points_to_model(self, points_xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 2) image pixels (x, y) -> (..., 2) model pixels (x, y)."""
        moved = np.asarray(points_xy, np.float64) * np.asarray(self.scale_xy)
        return np.asarray(moved, np.float64)

    def boxes_to_model(self, boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 4) image pixels (x0, y0, x1, y1) -> (..., 4) model pixels."""
        boxes = np.asarray(boxes_xyxy, np.float64)
        return self.points_to_model(boxes.reshape(*boxes.shape[:-1], 2, 2)).reshape(boxes.shape)


def _checked_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    h, w = int(size_hw[0]), int(size_hw[1])
    if h < 1 or w < 1:
        raise ValueError(f"Expected an image of at least 1 x 1 pixels, got {h} x {w}.")
    return h, w
