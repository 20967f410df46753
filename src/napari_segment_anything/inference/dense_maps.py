"""What `nano`'s dense head says of a whole field: where objects are, and where their middles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ..geometry.frames import ImageFrame
from ..modeling.conv_encoder import ConvEncoder
from ..structures import Embedding
from .model import Model

SEED_SPACING_CELLS = 7
LEAST_SEED_FOREGROUND = 0.4


@dataclass(frozen=True)
class DenseMaps:
    """Probabilities (h, w) of being object, and of being at an object's middle.

    A cell is ``cell_px`` model pixels of the image in ``frame``.
    """

    foreground: Tensor
    centre: Tensor
    cell_px: float
    frame: ImageFrame

    def foreground_at(self, points_xy: NDArray[np.floating]) -> NDArray[np.float32]:
        """(B, 2) image pixels -> (B,) probability that the point or a neighbour of it is object."""
        near = F.max_pool2d(self.foreground[None, None], 3, stride=1, padding=1)[0, 0]
        height, width = near.shape
        cells = self.frame.points_to_model(points_xy) / self.cell_px
        x = np.clip(cells[:, 0].astype(int), 0, width - 1)
        y = np.clip(cells[:, 1].astype(int), 0, height - 1)
        return np.asarray(near.cpu().numpy()[y, x], np.float32)

    def seeds_xy(self) -> NDArray[np.float64]:
        """Middles of objects: peaks of the centre map on foreground, (N, 2) image pixels (x, y).

        Two peaks are at least half of `SEED_SPACING_CELLS` apart; a large or long object may have
        several, whose masks are duplicates of each other.
        """
        smooth = F.avg_pool2d(self.centre[None, None], 3, 1, 1)
        highest = F.max_pool2d(smooth, SEED_SPACING_CELLS, 1, SEED_SPACING_CELLS // 2)
        peaks = (smooth == highest)[0, 0] & (self.foreground >= LEAST_SEED_FOREGROUND)
        # Where the map is level, many cells are as high as each other: their middle is the peak.
        level, count = ndimage.label(peaks.cpu().numpy(), structure=np.ones((3, 3)))
        cells = np.array(ndimage.center_of_mass(level > 0, level, range(1, count + 1)))
        cells = cells.reshape(-1, 2)[:, ::-1]
        middles = (cells + 0.5) * self.cell_px / np.asarray(self.frame.scale_xy)
        inside = (middles < np.asarray(self.frame.size_hw[::-1])).all(axis=1)
        return np.asarray(middles[inside], np.float64)


@torch.inference_mode()
def dense_maps(model: Model, embedding: Embedding) -> DenseMaps | None:
    """The maps of an encoded image; None for models without a dense head."""
    encoder = model.sam.image_encoder
    if not isinstance(encoder, ConvEncoder):
        return None
    tile = embedding.tiles[0]
    foreground, _, centre = encoder.dense_maps(tile.features)[0].float()
    cell_px = model.grid_for(tile.frame).cell_px * tile.features.shape[-1] / centre.shape[-1]
    return DenseMaps(foreground, centre, cell_px, tile.frame)
