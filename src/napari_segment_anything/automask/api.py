"""`auto_mask`: the whole image into a label image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config import AutoMaskSettings
from ..inference.decoding import decode_points
from ..inference.dense_maps import dense_maps
from ..inference.model import Model
from ..inference.predictor import encode
from ..inference.preprocess import to_rgb8
from ..structures import Embedding, Progress
from .generator import EncodeCrop, EncodedCrop, generate
from .point_grid import Box
from .records import MaskRecord, to_records

LEAST_VISIBLE_PART = 0.25


def auto_mask(
    model: Model,
    image: ArrayLike | Embedding,
    *,
    contrast_limits: tuple[float, float] | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[NDArray[np.int32], list[MaskRecord]]:
    """Segment everything in an image.

    Args:
        model: from `load_model`.
        image: as for `encode`, or the embedding of an image, which saves encoding it again.
        contrast_limits: as for `encode`.
        progress: called as ``progress(done, total)``, in batches; an exception from it cancels.
        **settings: fields of `AutoMaskSettings`, named as in ``SamAutomaticMaskGenerator``; what
            is not given comes from the model's card, then from the paper.

    Returns:
        Labels (H, W) int32, ids 1..n in order of predicted IoU; where masks overlap the better
        one keeps the pixel. ``records[i]`` belongs to label i + 1 and reads like a record of
        ``SamAutomaticMaskGenerator``, its ``segmentation`` the whole mask, (H, W) bool. A mask
        of which better ones hide three quarters or more is left out of both: its rim is no object.

    Raises:
        ValueError: unknown or impossible settings, an image that is none, crops of an embedding.
    """
    chosen = resolved_settings(model, settings)
    if isinstance(image, Embedding):
        size_hw, encode_crop = _from_embedding(model, image, chosen)
    else:
        # One stretch for the image and all its crops.
        size_hw, encode_crop = _from_pixels(model, to_rgb8(image, contrast_limits))

    found = generate(size_hw, encode_crop, chosen, model.sam.mask_threshold, progress=progress)
    return painted(to_records(found, size_hw), size_hw)


def resolved_settings(model: Model, given: dict[str, Any]) -> AutoMaskSettings:
    """Settings given by name over the model's card over the paper's defaults, all in range."""
    return AutoMaskSettings.checked({**model.card.automask, **given})


def encoded_crop(model: Model, embedding: Embedding) -> EncodedCrop:
    """How points of an encoded image are decoded, and what its dense maps say of where to ask."""
    decode = partial(decode_points, model, embedding)
    least = model.card.least_foreground
    maps = dense_maps(model, embedding) if least > 0 else None
    if maps is None:
        return EncodedCrop(decode)
    return EncodedCrop(decode, maps.seeds_xy(), lambda points: maps.foreground_at(points) >= least)


def _from_pixels(model: Model, rgb: NDArray[np.uint8]) -> tuple[tuple[int, int], EncodeCrop]:
    def encode_crop(crop: Box, tick: Callable[[], None]) -> EncodedCrop:
        x0, y0, x1, y1 = crop
        part = rgb[y0:y1, x0:x1]
        return encoded_crop(model, encode(model, part, progress=lambda _done, _total: tick()))

    return (rgb.shape[0], rgb.shape[1]), encode_crop


def _from_embedding(
    model: Model, embedding: Embedding, settings: AutoMaskSettings
) -> tuple[tuple[int, int], EncodeCrop]:
    if embedding.model_digest != model.digest:
        raise ValueError("Expected an embedding made by this model; encode the image again.")
    if settings.crop_n_layers:
        raise ValueError(
            f"Expected the image itself for crop_n_layers={settings.crop_n_layers}, got an "
            "embedding, which cannot be cropped; pass the image or use crop_n_layers=0."
        )
    return embedding.frame.size_hw, lambda _crop, _tick: encoded_crop(model, embedding)


def painted(
    records: list[MaskRecord], size_hw: tuple[int, int]
) -> tuple[NDArray[np.int32], list[MaskRecord]]:
    """Labels and their records, best predicted IoU first; what is hardly visible gets no label."""
    labels = np.zeros(size_hw, np.int32)
    kept: list[MaskRecord] = []
    for record in sorted(records, key=lambda r: -float(r["predicted_iou"])):
        part = labels[record.mask.region]  # a view: writing to it writes to the labels
        free = record.mask.pixels & (part == 0)
        if free.sum() > LEAST_VISIBLE_PART * record["area"]:
            kept.append(record)
            part[free] = len(kept)
    return labels, kept
