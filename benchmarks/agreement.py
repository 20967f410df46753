"""Are the answers the same? Each function sums one comparison up in a few words."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

import napari_segment_anything as nsa
from napari_segment_anything.automask.generator import EncodedCrop, generate
from napari_segment_anything.automask.point_grid import layer_point_grids
from napari_segment_anything.automask.quality import stability_scores
from napari_segment_anything.automask.records import to_dicts
from napari_segment_anything.config import AutoMaskSettings
from napari_segment_anything.inference.decoding import decode_points
from napari_segment_anything.inference.model import Model

from .contestants import Pair

NEAR_THRESHOLD = 0.003
SAME_IOU = 0.95


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two bool masks; 1 if both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def of_embeddings(predictor: Any, embedding: nsa.Embedding) -> str:
    """Largest difference of two embeddings, as a part of the largest value."""
    theirs, mine = predictor.features.float(), embedding.tiles[0].features.float()
    largest = (theirs - mine).abs().max() / theirs.abs().max()
    return f"embedding within {float(largest):.1e} of its largest value"


def of_clicks(theirs: list[Any], mine: list[nsa.MaskPrediction]) -> str:
    """Masks and predicted IoU of the same prompts."""
    ious = [
        mask_iou(a, b)
        for (masks, _, _), answer in zip(theirs, mine, strict=True)
        for a, b in zip(masks, answer.masks, strict=True)
    ]
    largest = max(
        float(np.abs(low_res - answer.logits).max() / np.abs(low_res).max())
        for (_, _, low_res), answer in zip(theirs, mine, strict=True)
    )
    rated = max(float(np.abs(a[1] - b.iou).max()) for a, b in zip(theirs, mine, strict=True))
    return f"mask IoU {np.mean(ious):.4f}, logits within {largest:.1e}, predicted IoU {rated:.1e}"


def surviving_settings(two: Pair, image: np.ndarray) -> dict[str, Any]:
    """Thresholds that about a tenth of the candidates passes, set for both contestants.

    Random weights draw speckles around zero; the highest pixels make blobs, as objects do.
    """
    embedding = nsa.encode(two.ours, image)
    side = image.shape[0]
    points = layer_point_grids(16, 0, 1)[0] * side
    decoded = decode_points(two.ours, embedding, points)
    level = float(np.quantile(decoded.logits.numpy(), 0.97))
    two.reference.mask_threshold = level  # type: ignore[assignment]
    two.ours.sam.mask_threshold = level
    rated = float(np.quantile(decoded.iou.numpy(), 0.75))
    offset = 0.1 * float(decoded.logits.std())
    stable = [
        stability_scores(stack.logits, level, offset)
        for stack in decoded.select(decoded.iou > rated).stacks()
    ]
    return {
        "points_per_side": 32,
        "pred_iou_thresh": rated,
        "stability_score_offset": offset,
        "stability_score_thresh": float(np.nanquantile(torch.cat(stable).numpy(), 0.6)),
        "box_nms_thresh": 0.9,
    }


def records_of(model: Model, image: np.ndarray, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What the reference's generator returns, from our own functions."""
    checked = AutoMaskSettings(**settings)  # the thresholds are those of logits, not of a person

    def encode_crop(crop: Any, _tick: Any) -> EncodedCrop:
        x0, y0, x1, y1 = crop
        embedding = nsa.encode(model, image[y0:y1, x0:x1])
        return EncodedCrop(partial(decode_points, model, embedding))

    size_hw = (image.shape[0], image.shape[1])
    found = generate(size_hw, encode_crop, checked, model.sam.mask_threshold)
    return to_dicts(found, size_hw)


def of_records(theirs: list[dict[str, Any]], mine: list[dict[str, Any]], threshold: float) -> str:
    """How many of the reference's objects are here, identical or at IoU 0.95.

    Those that the model rates within 0.003 of the threshold do not count.
    """
    by_point: dict[tuple[float, ...], list[dict[str, Any]]] = {}
    for record in mine:
        by_point.setdefault(tuple(record["point_coords"][0]), []).append(record)
    counted = identical = same = 0
    for record in theirs:
        if abs(record["predicted_iou"] - threshold) < NEAR_THRESHOLD:
            continue
        counted += 1
        here = by_point.get(tuple(record["point_coords"][0]), [])
        ious = [mask_iou(record["segmentation"], other["segmentation"]) for other in here]
        identical += any(iou == 1.0 for iou in ious)
        same += any(iou >= SAME_IOU for iou in ious)
    return (
        f"{len(theirs)} objects and {len(mine)}; of {counted} not at the threshold "
        f"{identical} identical to the pixel, {same} at IoU >= {SAME_IOU}"
    )
