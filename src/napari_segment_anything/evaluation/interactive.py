"""A simulated person at one object: where they click, and how good the mask is after each click."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..structures import MaskPrediction, Prompt
from .matching import iou_of

Mask = NDArray[np.bool_]
Point = tuple[float, float]
Ask = Callable[[Prompt], MaskPrediction]
"""A prompt -> a model's answer."""


@dataclass(frozen=True)
class ObjectScore:
    """IoUs of one object's mask: of the candidate with the highest predicted IoU.

    ``clicks``: after the first, second ... click. ``box``: after the tight box, then after each
    correcting click. ``rating``: the predicted IoU of the first click's mask.
    """

    clicks: tuple[float, ...]
    box: tuple[float, ...]
    rating: float


@dataclass(frozen=True)
class _Answer:
    mask: Mask
    rating: float
    logits: NDArray[np.float32]


def centre_xy(mask: Mask) -> Point:
    """(x, y) of the pixel of ``mask`` (H, W) farthest from its border; the image's edge is one.

    Raises:
        ValueError: an empty mask.
    """
    window = _window(mask)
    if window is None:
        raise ValueError("Expected a mask with an object in it, got an empty one.")
    depth = ndimage.distance_transform_edt(np.pad(mask[window], 1))
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(col - 1 + window[1].start), float(row - 1 + window[0].start)


def next_click(found: Mask, true: Mask) -> tuple[Point, int] | None:
    """Where a person who sees ``found`` and wants ``true``, (H, W) each, clicks next.

    The middle of the largest connected region of error: label 1 where the object was missed, 0
    where background was taken; None if nothing is wrong.
    """
    window = _window(found ^ true)
    if window is None:
        return None
    missed, taken = true[window] & ~found[window], found[window] & ~true[window]
    regions = (_largest_part(taken), _largest_part(missed))
    label = int(regions[1].sum() >= regions[0].sum())
    x, y = centre_xy(regions[label])
    return (x + window[1].start, y + window[0].start), label


def score_object(ask: Ask, true: Mask, clicks: int, box_rounds: int) -> ObjectScore:
    """One object, ``true`` (H, W), by ``clicks`` clicks, and by a box and its corrections.

    ``box_rounds`` counts the box as the first round.
    """
    window = _window(true)
    if window is None:
        raise ValueError("Expected an object to score, got an empty mask.")
    rows, cols = window
    point = Prompt(np.array([centre_xy(true)]), np.array([1]))
    box = Prompt(box_xyxy=np.array([cols.start, rows.start, cols.stop, rows.stop], np.float64))
    by_clicks, rating = _rounds(ask, true, point, clicks)
    by_box, _ = _rounds(ask, true, box, box_rounds)
    return ObjectScore(by_clicks, by_box, rating)


def clicks_needed(ious: Sequence[float], target: float) -> int | None:
    """Clicks until the IoU is ``target`` or more; None if it never is."""
    return next((n for n, iou in enumerate(ious, start=1) if iou >= target), None)


def _rounds(ask: Ask, true: Mask, prompt: Prompt, rounds: int) -> tuple[tuple[float, ...], float]:
    """IoU after ``prompt`` and after each correction; the first answer's predicted IoU."""
    if rounds < 1:
        return (), float("nan")
    answer = _best_of(ask(prompt))
    rating = answer.rating
    ious = [iou_of(answer.mask, true)]
    while len(ious) < rounds:
        click = next_click(answer.mask, true)
        if click is not None:
            prompt = _corrected(prompt, *click, answer.logits)
            answer = _best_of(ask(prompt))
        ious.append(iou_of(answer.mask, true))
    return tuple(ious), rating


def _corrected(prompt: Prompt, xy: Point, label: int, logits: NDArray[np.float32]) -> Prompt:
    """``prompt`` with one more click, and the logits of the last answer fed back."""
    points, labels = prompt.points_xy, prompt.point_labels
    return replace(
        prompt,
        points_xy=np.array([xy]) if points is None else np.vstack([points, xy]),
        point_labels=np.array([label]) if labels is None else np.append(labels, label),
        mask=logits,
    )


def _best_of(prediction: MaskPrediction) -> _Answer:
    best = int(prediction.iou.argmax())
    return _Answer(prediction.masks[best], float(prediction.iou[best]), prediction.logits[best])


def _window(mask: Mask) -> tuple[slice, slice] | None:
    """Rows and columns that hold all of a mask; None for an empty one."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _largest_part(mask: Mask) -> Mask:
    """The largest connected part of a mask; parts touch along edges of pixels."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(parts == int(np.bincount(parts.ravel())[1:].argmax()) + 1)
