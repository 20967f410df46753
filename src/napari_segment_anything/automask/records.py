"""Candidates -> the dicts that `SamAutomaticMaskGenerator.generate` returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..geometry.rle import Rle, rle_area, rle_to_coco, rle_to_mask
from .generator import Candidates
from .point_grid import Box

MaskRecord = dict[str, Any]


def _as_runs(rle: Rle) -> Rle:
    return rle


SEGMENTATIONS: dict[str, Callable[[Rle], Any]] = {
    "binary_mask": rle_to_mask,
    "uncompressed_rle": _as_runs,
    "coco_rle": rle_to_coco,
}


def to_records(found: Candidates, output_mode: str = "binary_mask") -> list[MaskRecord]:
    """One dict a mask, ``segmentation`` as ``output_mode`` says; boxes are XYWH in pixels.

    Keys: segmentation, area, bbox, predicted_iou, point_coords, stability_score, crop_box.
    """
    write = SEGMENTATIONS[output_mode]
    records = []
    for i, rle in enumerate(found.rles):
        x0, y0, x1, y1 = (int(v) for v in found.boxes[i])
        records.append(
            {
                "segmentation": write(rle),
                "area": rle_area(rle),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "predicted_iou": found.iou[i],
                "point_coords": [list(found.points_xy[i])],
                "stability_score": found.stability[i],
                "crop_box": xywh(found.crops[i]),
            }
        )
    return records


def xywh(box: Box) -> list[int]:
    """(x0, y0, x1, y1) -> [x, y, width, height]."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]
