"""What the automatic decoder is taught: foreground and each object's own distances.

The conventions are those of torch-em's per-object distance transform and Dice loss, with which
micro-sam's decoders have been trained (Archit et al. 2025), so that theirs can be trained further.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label, regionprops
from skimage.segmentation import find_boundaries
from torch import Tensor

_EPS = 1e-7


def distance_targets(labels: NDArray[np.integer], least_area: int = 0) -> NDArray[np.float32]:
    """(H, W) labels, 0 background -> (3, H, W) targets from 0 to 1 of `UnetrDecoder`.

    Foreground; distance to the object's centre; distance to its boundary, 0 at the innermost pixel
    and largest on the boundary. Both distances are parts of the object's largest, and 1 on the
    background. The centre is the rounded centroid or, where that is not in the object, the
    innermost pixel. Parts of a label that do not touch, not even over corners, are objects of their
    own, and parts of fewer than ``least_area`` pixels are background.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Expected integer labels (H, W), got {labels.dtype} {labels.shape}; choose one plane."
        )
    parts = label(labels, connectivity=2)
    if least_area > 0:
        small = np.bincount(parts.ravel()) < least_area
        parts[small[parts]] = 0
    foreground = (parts > 0).astype(np.float32)
    targets = np.stack([foreground, *np.ones((2, *parts.shape), np.float32)])
    boundaries = find_boundaries(parts, mode="inner")
    for part in regionprops(parts):
        box = (slice(None), *part.slice)
        centre = np.round(part.centroid).astype(int) - np.array(part.bbox[:2])
        distances = object_distances(part.image, boundaries[part.slice], centre)
        targets[box][1:, part.image] = distances[:, part.image]
    return targets


def object_distances(
    mask: NDArray[np.bool_], boundaries: NDArray[np.bool_], centre_yx: NDArray[np.integer]
) -> NDArray[np.float64]:
    """(2, h, w) normalised distances of the object ``mask`` (h, w) to its centre and boundary.

    ``boundaries`` are all objects' in the same rectangle: a neighbour's counts, too, as in the
    reference. An object without any, because it fills the image, has no boundary distance.
    """
    depth = np.zeros(mask.shape)
    if boundaries.any():
        depth = np.where(mask, ndimage.distance_transform_edt(~boundaries), 0.0)
    y, x = centre_yx
    if not mask[y, x]:
        y, x = np.unravel_index(depth.argmax(), depth.shape)
    rows, cols = np.indices(mask.shape)
    distances = np.stack([np.hypot(rows - y, cols - x), depth.max() - depth]) * mask
    return np.asarray(distances / (distances.max(axis=(1, 2), keepdims=True) + _EPS))


def distance_loss(maps: Tensor, targets: Tensor) -> Tensor:
    """Sum of the three maps' Dice losses; (B, 3, H, W) predictions and targets, both 0 to 1.

    Distances count on the foreground only, so what a decoder says of them elsewhere is free.
    """
    if maps.shape != targets.shape or maps.ndim != 4 or maps.shape[1] != 3:
        raise ValueError(
            f"Expected two equal shapes (B, 3, H, W), got {tuple(maps.shape)} and "
            f"{tuple(targets.shape)}."
        )
    foreground = targets[:, :1]
    loss = dice_loss(maps[:, 0], targets[:, 0])
    for channel in (1, 2):
        inside = slice(channel, channel + 1)
        loss = loss + dice_loss(maps[:, inside] * foreground, targets[:, inside] * foreground)
    return loss


def dice_loss(values: Tensor, targets: Tensor) -> Tensor:
    """1 - 2 sum(v t) / (sum v^2 + sum t^2), over all elements together (Milletari et al. 2016)."""
    overlap = (values * targets).sum()
    total = (values * values).sum() + (targets * targets).sum()
    return 1 - 2 * overlap / total.clamp(min=_EPS)
