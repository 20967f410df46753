"""Resize images, points and boxes for a model that wants its long side at one length."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..geometry.frames import ImageFrame

Size = tuple[int, ...]


class ResizeLongestSide:
    """Scales the longer side to ``target_length`` pixels, the other in proportion."""

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Size (h, w) after resizing."""
        return ImageFrame.fit_square((oldh, oldw), long_side_length).resized_hw

    def _scale_xy(self, original_size: Size) -> tuple[float, float]:
        size_hw = (original_size[0], original_size[1])
        return ImageFrame.fit_square(size_hw, self.target_length).scale_xy

    def apply_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 -> the same, resized by Pillow."""
        h, w = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.array(picture.resize((w, h), Image.Resampling.BILINEAR))

    def apply_coords(
        self, coords: NDArray[np.floating], original_size: Size
    ) -> NDArray[np.float64]:
        """(..., 2) points (x, y) of an image of ``original_size`` (H, W) -> model pixels."""
        moved = np.asarray(coords, np.float64) * np.asarray(self._scale_xy(original_size))
        return np.asarray(moved, np.float64)

    def apply_boxes(self, boxes: NDArray[np.floating], original_size: Size) -> NDArray[np.float64]:
        """(B, 4) boxes -> model pixels."""
        return self.apply_coords(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float -> resized on its device; close to `apply_image`, not equal.

        The reference 1.0 takes B and 3 for the image's sides here, which squashes the image; this
        is the one place where we do what it documents instead of what it does.
        """
        size = self.get_preprocess_shape(image.shape[2], image.shape[3], self.target_length)
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: Size) -> Tensor:
        """As `apply_coords`, for tensors, in float32."""
        x_scale, y_scale = self._scale_xy(original_size)
        at = coords.to(torch.float32)
        return torch.stack([at[..., 0] * x_scale, at[..., 1] * y_scale], dim=-1)

    def apply_boxes_torch(self, boxes: Tensor, original_size: Size) -> Tensor:
        """As `apply_boxes`, for tensors."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)
