"""Four functions of torchvision, for where the package does not import.

The reference imports torchvision without declaring it, and there is no CPU build of it on the
package index. Only what the reference calls is here.
"""

from __future__ import annotations

import sys
import types

import numpy as np
import torch
from PIL import Image


def to_pil_image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(array))


def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def box_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes, scores, idxs, iou_threshold):
    """One category at a time, a plain double loop; 0/0 is no overlap."""
    kept = []
    best_first = np.argsort(-scores.numpy(), kind="stable")
    for i in best_first:
        if all(idxs[i] != idxs[j] or _iou(boxes[i], boxes[j]) <= iou_threshold for j in kept):
            kept.append(int(i))
    return torch.tensor(kept, dtype=torch.int64)


def _iou(a: torch.Tensor, b: torch.Tensor) -> float:
    x = max(0.0, min(float(a[2]), float(b[2])) - max(float(a[0]), float(b[0])))
    y = max(0.0, min(float(a[3]), float(b[3])) - max(float(a[1]), float(b[1])))
    union = float(box_area(a[None]) + box_area(b[None])) - x * y
    return x * y / union if union else 0.0


def install(batched_nms=batched_nms) -> None:
    """Put the stand-in where ``import torchvision`` finds it, unless the real one imports."""
    try:
        import torchvision.ops.boxes
        import torchvision.transforms.functional  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        names = {
            "torchvision": {},
            "torchvision.ops": {},
            "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": box_area},
            "torchvision.transforms": {},
            "torchvision.transforms.functional": {"resize": resize, "to_pil_image": to_pil_image},
        }
        for name, contents in names.items():
            module = types.ModuleType(name)
            vars(module).update(contents)
            sys.modules[name] = module
