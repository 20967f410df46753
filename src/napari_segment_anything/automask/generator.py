"""Image -> masks: prompt on a grid, filter early, upsample survivors, remove duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import AutoMaskSettings
from ..geometry.rle import Rle, mask_to_rle, rle_to_mask
from ..inference.decoding import DecodedMasks
from ..structures import Progress
from .nms import box_area, nms
from .point_grid import Box, crop_boxes, layer_point_grids
from .quality import mask_boxes, near_crop_edge, stability_scores, without_small_regions

CHUNK_PIXELS = 1 << 24
"""Float pixels that may exist at once at image size: 64 MiB."""

Decode = Callable[[NDArray[np.float64]], DecodedMasks]
"""(B, 2) points in pixels of one encoded crop -> three masks each."""


@dataclass(frozen=True)
class EncodedCrop:
    """An encoded crop: how its points are decoded, and which of them are worth asking.

    ``worth_asking`` takes (N, 2) points in pixels of the crop and returns (N,) bool; None: all.
    """

    decode: Decode
    worth_asking: Callable[[NDArray[np.float64]], NDArray[np.bool_]] | None = None


EncodeCrop = Callable[[Box], EncodedCrop]
"""A crop (x0, y0, x1, y1) of the image -> its decoder; this is where the encoder runs."""


@dataclass
class Candidates:
    """Masks that are still in the race, parallel lists; boxes in pixels of the whole image."""

    rles: list[Rle] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    stability: list[float] = field(default_factory=list)
    points_xy: list[tuple[float, float]] = field(default_factory=list)
    crops: list[Box] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rles)

    def take(self, keep: Sequence[int]) -> Candidates:
        """Those at ``keep``, in that order."""
        out = Candidates()
        for name, values in vars(self).items():
            setattr(out, name, [values[i] for i in keep])
        return out

    def extend(self, other: Candidates) -> None:
        """Add all of ``other``."""
        for name, values in vars(other).items():
            getattr(self, name).extend(values)

    def stacked_boxes(self) -> Tensor:
        """(K, 4) float32."""
        return torch.stack(self.boxes).float() if self.boxes else torch.zeros(0, 4)


def generate(
    size_hw: tuple[int, int],
    encode_crop: EncodeCrop,
    settings: AutoMaskSettings,
    mask_threshold: float = 0.0,
    point_grids: Sequence[NDArray[np.floating]] | None = None,
    progress: Progress | None = None,
) -> Candidates:
    """All masks of an image of ``size_hw`` pixels that pass the filters, duplicates removed.

    ``point_grids`` (unit square, one a crop layer) replaces the regular grids. ``progress`` counts
    points and is called after every batch; an exception from it cancels.
    """
    grids = point_grids
    if grids is None:
        grids = layer_point_grids(
            settings.points_per_side,
            settings.crop_n_layers,
            settings.crop_n_points_downscale_factor,
        )
    crops, layers = crop_boxes(size_hw, settings.crop_n_layers, settings.crop_overlap_ratio)
    total, done = sum(len(grids[layer]) for layer in layers), 0
    found = Candidates()
    for crop, layer in zip(crops, layers, strict=True):
        encoded = encode_crop(crop)
        in_crop = Candidates()
        size_wh = np.array([crop[2] - crop[0], crop[3] - crop[1]])
        every = np.asarray(grids[layer]) * size_wh
        asked = every if encoded.worth_asking is None else every[encoded.worth_asking(every)]
        done = _report(progress, done + len(every) - len(asked), total)
        for points in _batched(asked, settings.points_per_batch):
            decoded = encoded.decode(points)
            in_crop.extend(filtered(decoded, points, crop, size_hw, settings, mask_threshold))
            done = _report(progress, done + len(points), total)
        scores = torch.tensor(in_crop.iou)
        keep = nms(in_crop.stacked_boxes(), scores, settings.box_nms_thresh)
        found.extend(in_crop.take(keep.tolist()))
    if len(crops) > 1:
        # A smaller crop saw its objects in more detail.
        scores = 1 / box_area(torch.tensor(found.crops, dtype=torch.float32).reshape(-1, 4))
        keep = nms(found.stacked_boxes(), scores, settings.crop_nms_thresh)
        found = found.take(keep.tolist())
    if settings.min_mask_region_area > 0:
        found = tidied(found, settings)
    return found


def _report(progress: Progress | None, done: int, total: int) -> int:
    if progress is not None:
        progress(done, total)
    return done


def _batched(points: NDArray[np.float64], size: int) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(points), size):
        yield points[start : start + size]


def filtered(
    decoded: DecodedMasks,
    points_xy: NDArray[np.float64],
    crop: Box,
    size_hw: tuple[int, int],
    settings: AutoMaskSettings,
    mask_threshold: float,
) -> Candidates:
    """The masks of one batch that pass all filters, cheapest first.

    Only masks that pass the predicted IoU are brought to image size, a chunk at a time.
    """
    keep = torch.ones_like(decoded.iou, dtype=torch.bool)
    if settings.pred_iou_thresh > 0:
        keep = decoded.iou > settings.pred_iou_thresh
    rows = keep.nonzero()[:, 0].tolist()
    iou = decoded.iou[keep].tolist()
    selected = decoded.select(keep)
    chunk = max(1, CHUNK_PIXELS // (size_hw[0] * size_hw[1]))
    x0, y0 = crop[:2]
    out = Candidates()
    for start in range(0, len(selected), chunk):
        logits = selected.full_size(start, start + chunk)
        stability = stability_scores(logits, mask_threshold, settings.stability_score_offset)
        good = torch.ones_like(stability, dtype=torch.bool)
        if settings.stability_score_thresh > 0:
            good = stability >= settings.stability_score_thresh
        masks = logits[good] > mask_threshold
        boxes = mask_boxes(masks)
        whole = ~near_crop_edge(boxes, crop, size_hw)
        placed = boxes + boxes.new_tensor([x0, y0, x0, y0])
        index = (good.nonzero()[:, 0][whole] + start).tolist()
        pixels = masks[whole].cpu().numpy()
        for i, mask, box in zip(index, pixels, placed[whole].cpu(), strict=True):
            x, y = points_xy[rows[i]]
            out.rles.append(mask_to_rle(uncropped(mask, crop, size_hw)))
            out.boxes.append(box)
            out.iou.append(iou[i])
            out.stability.append(float(stability[i - start]))
            out.points_xy.append((float(x + x0), float(y + y0)))
            out.crops.append(crop)
    return out


def uncropped(mask: NDArray[np.bool_], crop: Box, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of a crop, in the whole image."""
    x0, y0, x1, y1 = crop
    if mask.shape == size_hw:
        return mask
    out = np.zeros(size_hw, bool)
    out[y0:y1, x0:x1] = mask
    return out


def tidied(found: Candidates, settings: AutoMaskSettings) -> Candidates:
    """Small holes filled, small islands dropped, and what has become a duplicate removed.

    Masks that needed no change win over those that did.
    """
    if not len(found):
        return found
    scores = []
    for i, rle in enumerate(found.rles):
        mask = rle_to_mask(rle)
        clean = without_small_regions(mask, settings.min_mask_region_area)
        unchanged = clean is mask
        scores.append(float(unchanged))
        if not unchanged:
            found.rles[i] = mask_to_rle(clean)
            found.boxes[i] = mask_boxes(torch.from_numpy(clean)[None])[0]
    threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    keep = nms(found.stacked_boxes(), torch.tensor(scores), threshold)
    return found.take(keep.tolist())
