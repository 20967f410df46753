"""COCO annotations, polygons and runs, as label images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


@dataclass(frozen=True)
class CocoImage:
    """One image of an annotation file: ``name`` in its folder, and its objects' outlines.

    ``segmentations`` are as in the file: polygons (x, y, x, y, ...) or runs, compressed or not.
    ``source`` is the annotation file, for messages.
    """

    name: str
    segmentations: tuple[Any, ...]
    source: Path

    def labels(self, size_hw: tuple[int, int]) -> NDArray[np.int32]:
        """(H, W) int32, the n-th object is n; a smaller object lies upon a larger one.

        Raises:
            ValueError: outlines that are none, or of an image of another size.
        """
        masks = [self._mask(number, size_hw) for number in range(1, len(self.segmentations) + 1)]
        areas = [int(mask.sum()) for mask in masks]
        labels = np.zeros(size_hw, np.int32)
        for i in sorted(range(len(masks)), key=lambda i: -areas[i]):
            labels[masks[i]] = i + 1
        return labels

    def _mask(self, number: int, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
        try:
            return segmentation_mask(self.segmentations[number - 1], size_hw)
        except Exception as error:  # the library raises whatever it stumbles over
            raise ValueError(
                f"Expected polygons or runs for object {number} of {self.name} in {self.source}, "
                f"got what cannot be drawn ({error})."
            ) from error


def segmentation_mask(segmentation: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """COCO's ``segmentation`` of one object -> (H, W) bool.

    Raises:
        ValueError: it is none, or of another size.
    """
    h, w = size_hw
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [h, w]:
            raise ValueError(f"expected runs of {h} x {w} pixels, got {segmentation['size']}")
        counts = segmentation["counts"]
        if not isinstance(counts, list):
            return np.asarray(coco_mask.decode(segmentation), bool)
        if sum(counts) != h * w or min(counts) < 0:
            raise ValueError(f"expected runs of {h * w} pixels together, got {sum(counts)}")
        return np.asarray(coco_mask.decode(coco_mask.frPyObjects(segmentation, h, w)), bool)
    polygons = [np.asarray(p, np.float64).ravel() for p in segmentation]
    if not polygons or any(len(p) < 6 or len(p) % 2 or not np.isfinite(p).all() for p in polygons):
        raise ValueError("expected lists of at least three points x, y")
    runs = coco_mask.frPyObjects([p.tolist() for p in polygons], h, w)
    return np.asarray(coco_mask.decode(coco_mask.merge(runs)), bool)


def read_coco(path: Path) -> list[CocoImage]:
    """The images of an annotation file in its order; crowds, which are no objects, are left out.

    Raises:
        ValueError: no COCO annotations, or names that lead out of the image folder.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: str(image["file_name"]) for image in data["images"]}
        outlines: dict[Any, list[Any]] = {key: [] for key in names}
        for annotation in data["annotations"]:
            if not annotation.get("iscrowd"):
                outlines[annotation["image_id"]].append(annotation["segmentation"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"Expected COCO annotations with images and segmentations in {path}, "
            f"got something else ({type(error).__name__}: {error})."
        ) from error
    _check_names(list(names.values()), path)
    return [CocoImage(names[key], tuple(outlines[key]), path) for key in names]


def _check_names(names: Sequence[str], path: Path) -> None:
    for name in names:
        if Path(name).anchor or ".." in Path(name).parts:
            raise ValueError(
                f"Expected file names inside of the image folder in {path}, got {name!r}."
            )
