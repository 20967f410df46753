"""`SamAutomaticMaskGenerator`: masks for the whole image, in the reference's formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..automask.generator import EncodedCrop, generate
from ..automask.point_grid import Box, layer_point_grids
from ..automask.records import SEGMENTATIONS, to_dicts
from ..config import AutoMaskSettings
from ..geometry.frames import ImageFrame
from ..inference.decoding import decode_points
from ..inference.model import Model
from ..modeling.sam import Sam
from ..structures import EmbeddedTile, Embedding
from .predictor import SamPredictor


class SamAutomaticMaskGenerator:
    """Prompts on a grid over the image and its crops; keeps good, stable, different masks.

    Arguments as in `AutoMaskSettings`; ``point_grids`` (one array of points in the unit square a
    crop layer) may take the place of ``points_per_side``; ``output_mode`` is binary_mask,
    uncompressed_rle or coco_rle.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[NDArray[np.floating]] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise ValueError("Expected either points_per_side or point_grids, got both or neither.")
        if output_mode not in SEGMENTATIONS:
            raise ValueError(f"Expected output_mode {list(SEGMENTATIONS)}, got {output_mode!r}.")
        if point_grids is not None and len(point_grids) < crop_n_layers + 1:
            raise ValueError(
                f"Expected {crop_n_layers + 1} point_grids, one a crop layer, "
                f"got {len(point_grids)}."
            )
        if point_grids is None:
            point_grids = layer_point_grids(
                points_per_side or 1, crop_n_layers, crop_n_points_downscale_factor
            )
        self.predictor = SamPredictor(model)
        self.point_grids = point_grids
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode

    @property
    def settings(self) -> AutoMaskSettings:
        """The attributes as they are now; a script may change them between images."""
        own = vars(self)  # point_grids stand for points_per_side
        return AutoMaskSettings(**{k: own[k] for k in AutoMaskSettings.names() if k in own})

    @torch.no_grad()
    def generate(self, image: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Masks of an (H, W, 3) uint8 image.

        Returns dicts with segmentation, area, bbox (XYWH), predicted_iou, point_coords,
        stability_score and crop_box (XYWH).
        """
        predictor = self.predictor
        model = Model(predictor.model, "sam", predictor.device, "fp32", digest="")

        def encode_crop(crop: Box, _tick: Callable[[], None]) -> EncodedCrop:
            x0, y0, x1, y1 = crop
            predictor.set_image(image[y0:y1, x0:x1])
            frame = ImageFrame.fit_square((y1 - y0, x1 - x0), predictor.transform.target_length)
            tile = EmbeddedTile(predictor.get_image_embedding(), frame)
            embedding = Embedding(frame, "", (tile,))
            return EncodedCrop(partial(decode_points, model, embedding))

        size_hw = (image.shape[0], image.shape[1])
        found = generate(
            size_hw,
            encode_crop,
            self.settings,
            predictor.model.mask_threshold,
            self.point_grids,
        )
        predictor.reset_image()
        return to_dicts(found, size_hw, self.output_mode)
