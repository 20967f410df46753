"""Candidates -> what is handed out: the reference's dicts, or records that draw their mask late."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..geometry.rle import LocalMask, mask_to_rle, rle_to_coco
from .generator import Candidates
from .point_grid import Box

SEGMENTATIONS: dict[str, Callable[[NDArray[np.bool_]], Any]] = {
    "binary_mask": lambda mask: mask,
    "uncompressed_rle": mask_to_rle,
    "coco_rle": lambda mask: rle_to_coco(mask_to_rle(mask)),
}


class MaskRecord(dict[str, Any]):
    """One mask of `auto_mask`: the dict that ``SamAutomaticMaskGenerator`` would return.

    Keys: segmentation (H, W) bool, area, bbox (XYWH), predicted_iou, point_coords,
    stability_score, crop_box (XYWH). The segmentation is drawn when it is read: those of a
    thousand objects in a large image would not fit into memory. ``mask`` is its compact form.
    """

    def __init__(
        self, mask: LocalMask, size_hw: tuple[int, int], values: Mapping[str, Any]
    ) -> None:
        super().__init__(segmentation=None, **values)
        self.mask = mask
        self.size_hw = size_hw

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        late = key == "segmentation" and value is None
        return self.mask.full(self.size_hw) if late else value

    def __iter__(self) -> Iterator[str]:  # so that dict(record) and {**record} read each key
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        return self[key] if key in self else default  # noqa: SIM401 - dict's own get() is raw

    def values(self) -> Any:
        """All values, the segmentation drawn."""
        return ValuesView(self)

    def items(self) -> Any:
        """All keys and values, the segmentation drawn."""
        return ItemsView(self)

    def copy(self) -> dict[str, Any]:
        """A plain dict."""
        return {key: self[key] for key in self}

    def __reduce__(self) -> tuple[Any, ...]:
        return MaskRecord, (self.mask, self.size_hw, self.scores())

    def __repr__(self) -> str:
        return f"MaskRecord({self.scores()})"

    def scores(self) -> dict[str, Any]:
        """All but the segmentation."""
        return {key: self[key] for key in self if key != "segmentation"}


def to_records(found: Candidates, size_hw: tuple[int, int]) -> list[MaskRecord]:
    """One record a mask of an image of ``size_hw`` pixels, in the order of ``found``."""
    records = []
    for i, mask in enumerate(found.masks):
        values = {
            "area": mask.area,
            "bbox": xywh(_whole(found.boxes[i])),
            "predicted_iou": found.iou[i],
            "point_coords": [list(found.points_xy[i])],
            "stability_score": found.stability[i],
            "crop_box": xywh(found.crops[i]),
        }
        records.append(MaskRecord(mask, size_hw, values))
    return records


def to_dicts(
    found: Candidates, size_hw: tuple[int, int], output_mode: str = "binary_mask"
) -> list[dict[str, Any]]:
    """Plain dicts, ``segmentation`` as ``output_mode`` says; a key of `SEGMENTATIONS`."""
    write = SEGMENTATIONS[output_mode]
    return [
        {"segmentation": write(record["segmentation"]), **record.scores()}
        for record in to_records(found, size_hw)
    ]


def _whole(box: Tensor) -> Box:
    x0, y0, x1, y1 = (int(v) for v in box)
    return x0, y0, x1, y1


def xywh(box: Box) -> list[int]:
    """(x0, y0, x1, y1) -> [x, y, width, height]."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]
