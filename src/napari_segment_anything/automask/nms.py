"""Non-maximum suppression on boxes: of two that overlap too much the better one stays."""

from __future__ import annotations

import torch
from torch import Tensor


def box_area(boxes: Tensor) -> Tensor:
    """(K, 4) boxes (x0, y0, x1, y1) -> (K,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """(K, 4) float boxes and (K,) scores -> indices kept, best first.

    Equal scores keep their order. A box is dropped only if its IoU with a kept, better one is
    above the threshold, so two boxes without area never drop each other.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    sorted_boxes, areas = boxes[order], box_area(boxes)[order]
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for i in range(len(order)):
        if not alive[i]:
            continue
        rest = sorted_boxes[i + 1 :]
        low = torch.maximum(sorted_boxes[i, :2], rest[:, :2])
        high = torch.minimum(sorted_boxes[i, 2:], rest[:, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        iou = overlap / (areas[i] + areas[i + 1 :] - overlap)
        alive[i + 1 :] &= ~(iou > iou_threshold)
    return order[alive]
