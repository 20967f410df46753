"""What the decoder is told: mask losses, IoU regression and the dense head's targets."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., h, w) logits and soft targets in 0..1 -> (...) 1 - soft Dice."""
    p = torch.sigmoid(logits)
    overlap = (p * targets).sum((-2, -1))
    total = p.sum((-2, -1)) + targets.sum((-2, -1))
    return 1 - (2 * overlap + 1) / (total + 1)


def balanced_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., h, w) -> (...) cross entropy, per pixel of the object's own neighbourhood.

    The sum is divided by the object's area plus a margin instead of the window's, so that a
    nucleus of a hundred pixels counts as much as one of ten thousand: without it a model
    trained on small objects learns to answer "empty".
    """
    cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    area = targets.sum((-2, -1))
    margin = 8 * torch.sqrt(area) + 64
    return cross.sum((-2, -1)) / (area + margin)


def focal_loss(
    logits: Tensor, targets: Tensor, focus: float = 2.0, foreground: float = 0.25
) -> Tensor:
    """(..., h, w) -> (...) focal loss, mean over the window's pixels.

    Lin et al. 2017 (arXiv 1708.02002) with its gamma (``focus``) and alpha (``foreground``). On the
    border of an object targets are between 0 and 1, where 1 - p_t becomes |target - p|.
    """
    cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = (targets - torch.sigmoid(logits)).abs() ** focus
    weight = foreground * targets + (1 - foreground) * (1 - targets)
    return (weight * missed * cross).mean((-2, -1))


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., h, w) -> (...) balanced cross entropy plus Dice."""
    return balanced_bce(logits, targets) + dice_loss(logits, targets)


def mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., h, w) logits against soft targets, both thresholded -> (...) IoU, 1 for empty pairs."""
    a, b = logits > 0, targets > 0.5
    union = (a | b).sum((-2, -1))
    overlap = (a & b).sum((-2, -1))
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


def dense_targets(labels: Tensor) -> Tensor:
    """(B, h, w) integer labels -> (B, 3, h, w) targets of the dense head.

    Foreground; contact (a pixel with another label within one step); centre, which falls from 1
    at an object's middle to 0 at its border, relative to the object's own depth: of two objects
    that touch, a small and a large one, each has a peak, and both are as high.
    """
    foreground = labels > 0
    x = labels[:, None].to(torch.float32)
    highest = F.max_pool2d(x, 3, stride=1, padding=1)
    lowest = -F.max_pool2d(-x, 3, stride=1, padding=1)
    contact = (highest != lowest)[:, 0] & foreground
    depth = torch.stack(
        [relative_depth(plane, edge) for plane, edge in zip(labels, contact, strict=True)]
    )
    return torch.stack([foreground.float(), contact.float(), depth], dim=1)


def relative_depth(labels: Tensor, border: Tensor) -> Tensor:
    """(h, w) labels and their outermost cells -> (h, w) how deep a cell lies in its object.

    Cells from the border, itself 1, over the object's largest such number; 0 on background.
    """
    foreground = labels > 0
    inside = (foreground & ~border).numpy()
    depth = torch.ones(inside.shape)
    if not inside.all():
        depth += torch.from_numpy(ndimage.distance_transform_edt(inside)).to(torch.float32)
    depth *= foreground
    _, object_of = torch.unique(labels, return_inverse=True)
    deepest = torch.zeros(int(object_of.max()) + 1)
    deepest.scatter_reduce_(0, object_of.flatten(), depth.flatten(), "amax")
    return depth / deepest[object_of].clamp(min=1)


def dense_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of the dense head's (B, 3, h, w) logits, mean over pixels and maps."""
    return F.binary_cross_entropy_with_logits(logits, targets)
