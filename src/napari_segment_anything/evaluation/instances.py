"""Whole segmentations against true ones: AP, symmetric best Dice, aggregated Jaccard index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import Indices, Overlaps, matches, overlaps_of

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(9))
"""0.5, 0.55 ... 0.9."""


@dataclass(frozen=True)
class InstanceScores:
    """Scores of several images, pooled: every object counts the same, wherever it lies.

    ``average_precision``: IoU threshold -> TP / (TP + FP + FN), a found object of this IoU or more
    with its own true one being a TP (Caicedo et al. 2019; StarDist and Cellpose call it AP, too).
    ``mean_ap`` is its mean over the thresholds of `THRESHOLDS`. ``sbd``: symmetric best Dice
    (Scharr et al. 2016). ``aji``: aggregated Jaccard index (Kumar et al. 2017).
    ``true``, ``found`` and ``matched`` are numbers of objects, matched at IoU 0.5.
    Where there is nothing to find and nothing has been found, all scores are 1.
    """

    average_precision: dict[float, float]
    mean_ap: float
    sbd: float
    aji: float
    true: int
    found: int
    matched: int


def score_instances(
    found: Sequence[NDArray[np.integer]], true: Sequence[NDArray[np.integer]]
) -> InstanceScores:
    """Found label images against the true ones of the same images, (H, W) each, 0 background.

    Raises:
        ValueError: unequal numbers of images, or images of different sizes.
    """
    if len(found) != len(true):
        raise ValueError(f"Expected as many found as true images, got {len(found)}, {len(true)}.")
    return pooled([overlaps_of(f, t) for f, t in zip(found, true, strict=True)])


def pooled(images: Sequence[Overlaps]) -> InstanceScores:
    """Scores of all images together."""
    true = sum(len(image.true_px) for image in images)
    found = sum(len(image.found_px) for image in images)
    matched = {t: sum(len(matches(image, t)) for image in images) for t in THRESHOLDS}
    precision = {t: _ratio(n, true + found - n) for t, n in matched.items()}
    return InstanceScores(
        precision,
        float(np.mean(list(precision.values()))),
        _symmetric_best_dice(images),
        _aggregated_jaccard(images),
        true,
        found,
        matched[THRESHOLDS[0]],
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 1.0


def _symmetric_best_dice(images: Sequence[Overlaps]) -> float:
    """The lower of two means: true objects' Dice with their best found one, and vice versa."""
    of_true = [_best(o.dice, o.true_index, len(o.true_px)) for o in images]
    of_found = [_best(o.dice, o.found_index, len(o.found_px)) for o in images]
    true, found = (np.concatenate([np.zeros(0), *best]) for best in (of_true, of_found))
    if not len(true) or not len(found):
        return float(len(true) == len(found))
    return float(min(true.mean(), found.mean()))


def _best(values: NDArray[np.float64], index: Indices, count: int) -> NDArray[np.float64]:
    """(count,) the largest of an object's values, 0 for one without."""
    best = np.zeros(count)
    np.maximum.at(best, index, values)
    return best


def _aggregated_jaccard(images: Sequence[Overlaps]) -> float:
    """Shared pixels of true objects with their best found ones, over the unions of these pairs.

    Found objects that are nobody's best are added below the line; one may be several objects'.
    """
    shared = union = 0
    for image in images:
        order = np.lexsort((image.iou, image.true_index))
        is_best = np.diff(image.true_index[order], append=-1) != 0
        best = order[is_best]  # one pair for each true object that meets any
        lost_px = int(image.true_px.sum() - image.true_px[image.true_index[best]].sum())
        unused = np.ones(len(image.found_px), bool)
        unused[image.found_index[best]] = False
        shared += int(image.shared_px[best].sum())
        union += int((image.sums_px - image.shared_px)[best].sum())
        union += lost_px + int(image.found_px[unused].sum())
    return _ratio(shared, union)
