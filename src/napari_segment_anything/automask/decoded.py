"""The automatic decoder's maps -> candidates, each with the values that other masks have."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..config import AutoMaskSettings
from ..geometry.rle import LocalMask
from ..inference.instance_maps import InstanceMaps, instance_maps
from ..inference.model import Model
from ..structures import Embedding, Progress
from .generator import Candidates
from .watershed import Labels, find_seeds, grown

STEPS = 100
DECODED, SEEDED, FLOODED = 70, 75, 95
"""What of the progress is done with the maps, with the seeds, and with the watershed."""


def decoded_objects(
    model: Model, embedding: Embedding, settings: AutoMaskSettings, progress: Progress
) -> Candidates:
    """All objects that the decoder draws in an encoded image.

    ``progress(done, STEPS)`` is called now and then; an exception from it cancels.
    """

    def told(start: int, end: int) -> Progress:
        return lambda done, total: progress(start + (end - start) * done // total, STEPS)

    maps = instance_maps(model, embedding, told(0, DECODED))
    if maps is None:
        raise ValueError(f"Expected a model with an automatic decoder, {model.name!r} has none.")
    seeds = find_seeds(maps, settings)
    progress(SEEDED, STEPS)
    labels = grown(seeds, settings.min_mask_region_area, told(SEEDED, FLOODED))
    found = candidates(labels, seeds.middles_xy(), maps, settings)
    progress(STEPS, STEPS)
    return found


def candidates(
    labels: Labels,
    middles_xy: NDArray[np.float64],
    maps: InstanceMaps,
    settings: AutoMaskSettings,
) -> Candidates:
    """One an object of ``labels`` (H, W), whose seed's middle is ``middles_xy[label - 1]``.

    The predicted IoU is the mean foreground in the object. Its stability is the part of it that
    stays when the foreground's threshold rises by ``stability_score_offset`` logits.
    """
    ids = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    higher = raised(settings.foreground_threshold, settings.stability_score_offset)
    iou = ndimage.mean(maps.foreground, labels, ids)
    stability = ndimage.mean(maps.foreground > higher, labels, ids)
    places = ndimage.find_objects(labels)
    height, width = labels.shape
    out = Candidates()
    for number, rating, stable in zip(ids.tolist(), iou, stability, strict=True):
        rows, cols = places[number - 1]
        x, y = middles_xy[number - 1]
        out.masks.append(LocalMask.of(labels[rows, cols] == number, (rows.start, cols.start)))
        out.boxes.append(
            torch.tensor([cols.start, rows.start, cols.stop - 1, rows.stop - 1])
        )  # first and last pixel, as of other masks
        out.iou.append(float(rating))
        out.stability.append(float(stable))
        out.points_xy.append((float(x), float(y)))
        out.crops.append((0, 0, width, height))
    return out


def raised(probability: float, logits: float) -> float:
    """A probability, so many logits higher."""
    odds = np.exp(logits) * probability
    return float(odds / (odds + 1 - probability))
