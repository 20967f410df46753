"""Image -> masks: prompt on seeds and a grid, filter early, place survivors, drop duplicates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import AutoMaskSettings
from ..geometry.rle import LocalMask
from ..inference.decoding import DecodedMasks
from ..inference.out_of_memory import FittingBatches
from ..structures import Progress
from .nms import box_area, nms
from .point_grid import Box, crop_boxes, layer_point_grids
from .quality import mask_boxes, near_crop_edge, stability_scores, without_small_regions

SURE_IOU = 0.8
"""A seed inside of a mask that the model rates so well is not asked any more."""

SEEDS_SHARE = 0.7
"""Part of the progress that seeds take, before the grid."""

Points = NDArray[np.float64]
Decode = Callable[[Points, float], DecodedMasks]
"""(B, 2) points in pixels of one encoded crop -> three masks each.

Points none of whose masks is rated above the second argument may be left out.
"""


@dataclass(frozen=True)
class EncodedCrop:
    """An encoded crop: how its points are decoded, and where its encoder sees objects.

    ``seeds_xy`` (N, 2) are asked before the grid, which then leaves out what has been found.
    ``worth_asking`` takes (N, 2) points of the grid and returns (N,) bool; None: all. Both are in
    pixels of the crop.
    """

    decode: Decode
    seeds_xy: Points | None = None
    worth_asking: Callable[[Points], NDArray[np.bool_]] | None = None


EncodeCrop = Callable[[Box, Callable[[], None]], EncodedCrop]
"""A crop (x0, y0, x1, y1) of the image -> its decoder; this is where the encoder runs.

The second argument is called now and then; an exception from it cancels.
"""


@dataclass
class Candidates:
    """Masks that are still in the race, parallel lists; all in pixels of the whole image."""

    masks: list[LocalMask] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    stability: list[float] = field(default_factory=list)
    points_xy: list[tuple[float, float]] = field(default_factory=list)
    crops: list[Box] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, keep: Sequence[int]) -> Candidates:
        """Those at ``keep``, in that order."""
        out = Candidates()
        for name, values in vars(self).items():
            setattr(out, name, [values[i] for i in keep])
        return out

    def extend(self, other: Candidates) -> None:
        """Add all of ``other``."""
        for name, values in vars(other).items():
            getattr(self, name).extend(values)

    def stacked_boxes(self) -> Tensor:
        """(K, 4) float32."""
        return torch.stack(self.boxes).float() if self.boxes else torch.zeros(0, 4)


class Steps:
    """Tells progress in points; a crop counts as its grid, however many points are asked."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0.0

    def add(self, points: float) -> None:
        """So many more points are done; an exception from the callback cancels."""
        self._done += points
        if self._progress is not None:
            self._progress(round(self._done), self._total)


def generate(
    size_hw: tuple[int, int],
    encode_crop: EncodeCrop,
    settings: AutoMaskSettings,
    mask_threshold: float = 0.0,
    point_grids: Sequence[NDArray[np.floating]] | None = None,
    progress: Progress | None = None,
) -> Candidates:
    """All masks of an image of ``size_hw`` pixels that pass the filters, duplicates removed.

    ``point_grids`` (unit square, one a crop layer) replaces the regular grids. ``progress`` counts
    points and is called after every batch; an exception from it cancels.
    """
    grids = point_grids
    if grids is None:
        grids = layer_point_grids(
            settings.points_per_side,
            settings.crop_n_layers,
            settings.crop_n_points_downscale_factor,
        )
    crops, layers = crop_boxes(size_hw, settings.crop_n_layers, settings.crop_overlap_ratio)
    steps = Steps(progress, sum(len(grids[layer]) for layer in layers))
    least_iou = settings.pred_iou_thresh if settings.pred_iou_thresh > 0 else -math.inf
    batches = FittingBatches()

    def ask(encoded: EncodedCrop, crop: Box, points: Points) -> Candidates:
        decoded = encoded.decode(points, least_iou)
        return filtered(decoded, points, crop, size_hw, settings, mask_threshold, least_iou)

    found = Candidates()
    for crop, layer in zip(crops, layers, strict=True):
        grid = np.asarray(grids[layer]) * np.array([crop[2] - crop[0], crop[3] - crop[1]])
        encoded = encode_crop(crop, partial(steps.add, 0))
        in_crop = Candidates()
        for points, share in asked_points(encoded, grid, in_crop, crop, settings.points_per_batch):
            for answer in batches.run(partial(ask, encoded, crop), points):
                in_crop.extend(answer)
            steps.add(share)
        scores = torch.tensor(in_crop.iou)
        keep = nms(in_crop.stacked_boxes(), scores, settings.box_nms_thresh)
        found.extend(in_crop.take(keep.tolist()))
    if len(crops) > 1:
        # A smaller crop saw its objects in more detail.
        scores = 1 / box_area(torch.tensor(found.crops, dtype=torch.float32).reshape(-1, 4))
        keep = nms(found.stacked_boxes(), scores, settings.crop_nms_thresh)
        found = found.take(keep.tolist())
    if settings.min_mask_region_area > 0:
        found = tidied(found, settings, size_hw)
    return found


class Coverage:
    """The best predicted IoU among the masks found so far, at each pixel of a crop."""

    def __init__(self, crop: Box) -> None:
        x0, y0, x1, y1 = self._crop = crop
        self._rating = np.full((y1 - y0, x1 - x0), -np.inf, np.float32)
        self._known = 0

    def take_in(self, found: Candidates) -> None:
        """Add the masks that have come since last time; all lie in the crop."""
        x0, y0 = self._crop[:2]
        for mask, iou in zip(found.masks[self._known :], found.iou[self._known :], strict=True):
            rows, cols = mask.region
            part = self._rating[rows.start - y0 : rows.stop - y0, cols.start - x0 : cols.stop - x0]
            np.maximum(part, iou, out=part, where=mask.pixels)
        self._known = len(found)

    def at(self, points_xy: Points) -> NDArray[np.float32]:
        """(N, 2) points in pixels of the crop -> (N,), -inf where no mask is."""
        x, y = points_xy.astype(int).T
        h, w = self._rating.shape
        rating: NDArray[np.float32] = self._rating[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)]
        return rating


def asked_points(
    encoded: EncodedCrop, grid: Points, found: Candidates, crop: Box, batch: int
) -> Iterator[tuple[Points, float]]:
    """Batches of points in pixels of the crop, each with its share of progress, in grid points.

    Seeds come first, scattered, so that the seeds of one object are asked one after the other and
    those left out that a mask has which is sure enough. Of the grid then come the points worth
    asking that lie in no mask of ``found``, which the caller has filled meanwhile.
    """
    seeds, room = encoded.seeds_xy, float(len(grid))
    worth = np.ones(len(grid), bool) if encoded.worth_asking is None else encoded.worth_asking(grid)
    if seeds is not None:
        coverage = Coverage(crop)
        waiting = np.random.default_rng(0).permutation(seeds)
        while len(waiting):
            coverage.take_in(found)
            open_ones = waiting[coverage.at(waiting) < SURE_IOU]
            points, rest = open_ones[:batch], open_ones[batch:]
            yield points, SEEDS_SHARE * room * (len(waiting) - len(rest)) / len(seeds)
            waiting = rest
        coverage.take_in(found)
        worth &= np.isneginf(coverage.at(grid))
        room *= 1 - SEEDS_SHARE if len(seeds) else 1
    asked = grid[worth]
    if len(asked) == 0:
        yield asked, room
    for points in _batched(asked, batch):
        yield points, room * len(points) / len(asked)


def _batched(points: Points, size: int) -> Iterator[Points]:
    for start in range(0, len(points), size):
        yield points[start : start + size]


def filtered(
    decoded: DecodedMasks,
    points_xy: Points,
    crop: Box,
    size_hw: tuple[int, int],
    settings: AutoMaskSettings,
    mask_threshold: float,
    least_iou: float,
) -> Candidates:
    """The masks of one batch that pass all filters, cheapest first.

    Only masks that pass the predicted IoU are brought to the image's scale.
    """
    keep = decoded.iou > least_iou
    rows = keep.nonzero()[:, 0].tolist()
    iou = decoded.iou[keep].tolist()
    x0, y0 = crop[:2]
    out = Candidates()
    for stack in decoded.select(keep).stacks():
        stability = stability_scores(stack.logits, mask_threshold, settings.stability_score_offset)
        good = torch.ones_like(stability, dtype=torch.bool)
        if settings.stability_score_thresh > 0:
            good = stability >= settings.stability_score_thresh
        masks = stack.logits[good] > mask_threshold
        boxes = mask_boxes(masks)
        lefts_tops = torch.from_numpy(stack.origins_yx[:, ::-1].copy()).to(boxes.device)
        boxes = boxes + lefts_tops[good].repeat(1, 2)
        whole = ~near_crop_edge(boxes, crop, size_hw)
        placed = boxes + boxes.new_tensor([x0, y0, x0, y0])
        at = good.nonzero()[:, 0][whole].tolist()
        pixels = masks[whole].cpu().numpy()
        for k, mask, box in zip(at, pixels, placed[whole].cpu(), strict=True):
            i, (top, left) = int(stack.index[k]), stack.origins_yx[k].tolist()
            x, y = points_xy[decoded.asked[rows[i]]]
            out.masks.append(LocalMask.of(mask, (top + y0, left + x0)))
            out.boxes.append(box)
            out.iou.append(iou[i])
            out.stability.append(float(stability[k]))
            out.points_xy.append((float(x + x0), float(y + y0)))
            out.crops.append(crop)
    return out


def tidied(found: Candidates, settings: AutoMaskSettings, size_hw: tuple[int, int]) -> Candidates:
    """Small holes filled, small islands dropped, and what has become a duplicate removed.

    Masks that needed no change win over those that did.
    """
    if not len(found):
        return found
    scores = []
    for i, local in enumerate(found.masks):
        mask, origin = with_room(local, size_hw, settings.min_mask_region_area)
        clean = without_small_regions(mask, settings.min_mask_region_area)
        unchanged = clean is mask
        scores.append(float(unchanged))
        if not unchanged:
            found.masks[i] = LocalMask.of(clean, origin)
            y, x = origin
            box = mask_boxes(torch.from_numpy(clean)[None])[0]
            found.boxes[i] = box + box.new_tensor([x, y, x, y])
    threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    keep = nms(found.stacked_boxes(), torch.tensor(scores), threshold)
    return found.take(keep.tolist())


def with_room(
    local: LocalMask, size_hw: tuple[int, int], least_area: int
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """A mask with background around it, and its first pixel's place (y, x) in the image.

    The margin is wide enough for the background outside of the object to be no small region,
    which would be filled: it is cut only where the image ends.
    """
    margin = least_area + 1
    (y, x), (h, w) = local.origin_yx, local.size_hw
    top, left = max(0, y - margin), max(0, x - margin)
    out = np.zeros(
        (min(size_hw[0], y + h + margin) - top, min(size_hw[1], x + w + margin) - left), bool
    )
    out[y - top : y - top + h, x - left : x - left + w] = local.pixels
    return out, (top, left)
