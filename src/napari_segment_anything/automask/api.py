"""`auto_mask`: the whole image into a label image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..config import AutoMaskSettings
from ..inference.model import Model
from ..inference.predictor import encode
from ..inference.preprocess import to_rgb8
from ..structures import Embedding, Progress
from .asking import encoded_crop, steps_of
from .decoded import STEPS, decoded_objects
from .generator import Candidates, EncodeCrop, EncodedCrop, generate
from .point_grid import Box
from .records import MaskRecord, to_records

LEAST_VISIBLE_PART = 0.5
Rgb = NDArray[np.uint8]


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
            is not given comes from the model's card, then from the paper. ``mode`` says how.

    Returns:
        Labels (H, W) int32, ids 1..n in order of predicted IoU; where masks overlap the better
        one keeps the pixel. ``records[i]`` belongs to label i + 1 and reads like a record of
        ``SamAutomaticMaskGenerator``, its ``segmentation`` the whole mask, (H, W) bool. A mask
        of which better ones hide half or more is left out of both: its rim is no object.
        What the decoder draws is rated by its mean foreground.

    Raises:
        ValueError: unknown or impossible settings, an image that is none, crops of an embedding.
    """
    chosen = resolved_settings(model, settings)
    # One stretch for the image and all its crops.
    seen = image if isinstance(image, Embedding) else to_rgb8(image, contrast_limits)
    if isinstance(seen, Embedding) and seen.model_digest != model.digest:
        raise ValueError("Expected an embedding made by this model; encode the image again.")
    segment = _decoded if "decoder" in steps_of(model, chosen) else _prompted
    found, size_hw = segment(model, seen, chosen, progress)
    return painted(to_records(found, size_hw), size_hw)


def resolved_settings(model: Model, given: Mapping[str, Any]) -> AutoMaskSettings:
    """Settings given by name over the model's card over the paper's defaults, all in range.

    Raises:
        ValueError: unknown or impossible settings, or a mode that the model cannot do.
    """
    chosen = AutoMaskSettings.checked({**model.card.automask, **given})
    if chosen.mode not in model.modes:
        raise ValueError(
            f"Expected a mode out of {', '.join(model.modes)} for {model.name!r}, got "
            f"{chosen.mode!r}, for which it has no decoder; take a model that has one, such as "
            "'vit_b_lm'."
        )
    return chosen


Found = tuple[Candidates, tuple[int, int]]
"""Masks, and the size (H, W) of the image in which they are."""


def _decoded(
    model: Model, seen: Embedding | Rgb, settings: AutoMaskSettings, progress: Progress | None
) -> Found:
    told = progress or (lambda _done, _total: None)
    if not isinstance(seen, Embedding):
        seen = encode(model, seen, progress=lambda _done, _total: told(0, STEPS))
    return decoded_objects(model, seen, settings, told), seen.frame.size_hw


def _prompted(
    model: Model, seen: Embedding | Rgb, settings: AutoMaskSettings, progress: Progress | None
) -> Found:
    if isinstance(seen, Embedding):
        size_hw, encode_crop = _from_embedding(model, seen, settings)
    else:
        size_hw, encode_crop = _from_pixels(model, seen, settings)
    threshold = model.sam.mask_threshold
    return generate(size_hw, encode_crop, settings, threshold, progress=progress), size_hw


def _from_pixels(
    model: Model, rgb: Rgb, settings: AutoMaskSettings
) -> tuple[tuple[int, int], EncodeCrop]:
    def encode_crop(crop: Box, tick: Callable[[], None]) -> EncodedCrop:
        x0, y0, x1, y1 = crop
        part = rgb[y0:y1, x0:x1]
        embedding = encode(model, part, progress=lambda _done, _total: tick())
        return encoded_crop(model, embedding, settings, tick)

    return (rgb.shape[0], rgb.shape[1]), encode_crop


def _from_embedding(
    model: Model, embedding: Embedding, settings: AutoMaskSettings
) -> tuple[tuple[int, int], EncodeCrop]:
    if settings.crop_n_layers:
        raise ValueError(
            f"Expected the image itself for crop_n_layers={settings.crop_n_layers}, got an "
            "embedding, which cannot be cropped; pass the image or use crop_n_layers=0."
        )
    return embedding.frame.size_hw, lambda _crop, tick: encoded_crop(
        model, embedding, settings, tick
    )


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
