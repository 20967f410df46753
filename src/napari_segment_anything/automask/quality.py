"""Is a mask worth keeping? Stability, boxes, crop edges, small regions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

EDGE_PX = 20.0


def stability_scores(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """(K, H, W) logits -> (K,) IoU of the masks at ``threshold`` + and - ``offset``.

    NaN for a mask that is empty at both.
    """
    smaller = (logits > threshold + offset).sum((-2, -1), dtype=torch.int32)
    larger = (logits > threshold - offset).sum((-2, -1), dtype=torch.int32)
    return smaller / larger


def mask_boxes(masks: Tensor) -> Tensor:
    """(K, H, W) bool -> (K, 4) int64 (x0, y0, x1, y1), first and last pixel; empty ones are 0."""
    edges = []
    for axis in (-2, -1):
        line = masks.view(torch.uint8).amax(dim=axis)  # `any` takes fifty times as long
        low = line.argmax(-1)
        high = line.shape[-1] - 1 - line.flip(-1).argmax(-1)
        edges.append((low, high))
    (x0, x1), (y0, y1) = edges
    boxes = torch.stack([x0, y0, x1, y1], dim=-1)
    return boxes * line.amax(-1, keepdim=True)


def near_crop_edge(
    boxes: Tensor, crop_box: tuple[int, int, int, int], size_hw: tuple[int, int]
) -> Tensor:
    """(K, 4) boxes in a crop -> (K,) True where one ends at an edge of the crop, not of the image.

    Such a mask is likely cut off; another crop sees it whole.
    """
    x0, y0, _, _ = crop_box
    placed = (boxes + boxes.new_tensor([x0, y0, x0, y0])).to(torch.float32)
    crop = placed.new_tensor(crop_box)
    image = placed.new_tensor([0, 0, size_hw[1], size_hw[0]])
    at_crop = (placed - crop).abs() <= EDGE_PX
    at_image = (placed - image).abs() <= EDGE_PX
    return (at_crop & ~at_image).any(dim=1)


def without_small_regions(mask: NDArray[np.bool_], least_area: float) -> NDArray[np.bool_]:
    """(H, W) mask with holes and islands below ``least_area`` pixels filled and dropped.

    A mask of small islands alone keeps the largest. Regions connect over corners, too.
    """
    for holes in (True, False):
        parts, count = ndimage.label(mask ^ holes, structure=np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        small = sizes < least_area
        if not small.any():
            continue
        if holes:
            mask = np.isin(parts, [0, *(np.flatnonzero(small) + 1)])
        else:
            kept = np.flatnonzero(~small) + 1
            mask = np.isin(parts, kept if len(kept) else [int(sizes.argmax()) + 1])
    return mask
