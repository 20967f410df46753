"""What the automatic decoder says of a whole image: objects, their middles, their borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..geometry.frames import ImageFrame
from ..structures import Embedding, Progress
from .model import Model

FloatMap = NDArray[np.float32]


@dataclass(frozen=True)
class InstanceMaps:
    """Maps of an image, (H, W) float32 from 0 to 1 each.

    ``centre_distance`` is 0 at an object's centre, ``boundary_distance`` at its innermost pixel;
    both are 1 at the far end of it, and beyond objects.
    """

    foreground: FloatMap
    centre_distance: FloatMap
    boundary_distance: FloatMap


@torch.inference_mode()
def instance_maps(
    model: Model, embedding: Embedding, progress: Progress | None = None
) -> InstanceMaps | None:
    """The maps of an encoded image; None for models without an automatic decoder.

    ``progress(done, total)`` is called after each level of the decoder; an exception from it
    cancels.
    """
    decoder = model.automatic_decoder
    if decoder is None:
        return None
    tile = embedding.tiles[0]
    maps = decoder(tile.features, progress)
    foreground, centre, boundary = on_image(maps, tile.frame)[0].cpu().numpy()
    return InstanceMaps(foreground, centre, boundary)


def on_image(maps: Tensor, frame: ImageFrame) -> Tensor:
    """(B, C, h, w) maps of a canvas -> (B, C, H, W) of the image in it.

    As masks reach the image: to the canvas, whose padding is cut off, then to the image, both
    bilinear.
    """
    height, width = frame.resized_hw
    canvas = F.interpolate(maps, frame.canvas_hw, mode="bilinear", align_corners=False)
    return F.interpolate(
        canvas[..., :height, :width], frame.size_hw, mode="bilinear", align_corners=False
    )
