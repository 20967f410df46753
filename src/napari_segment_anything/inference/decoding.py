"""Prompts on an encoded image -> masks: batched, torch, still at the decoder's size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..geometry.frames import ImageFrame
from ..structures import Embedding
from .model import Model
from .windows import Window, WindowGrid, cut_windows

CHUNK_PIXELS = 1 << 21
"""Float pixels that exist at once at image size: 8 MiB, which filters pass over in the cache."""

OUTGROWN_IOU = 0.5
"""A mask that meets its window's edge is asked for in a larger one, if it is rated so well."""


@dataclass(frozen=True)
class ModelPrompts:
    """B prompts of one kind in model pixels; boxes and masks are optional.

    ``points_xy`` (B, N, 2) float with ``point_labels`` (B, N) int, N may be 0; ``boxes_xyxy``
    (B, 4); ``logits`` (B, 1, h, w), in the decode window.
    """

    points_xy: NDArray[np.float64]
    point_labels: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64] | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class MaskStack:
    """Logits (k, h, w) of k masks at the image's scale, each in a part of the image.

    ``origins_yx`` (k, 2) are the parts' first pixels, around them is background; ``index`` (k,)
    are the masks' places in the selection.
    """

    logits: Tensor
    origins_yx: NDArray[np.int64]
    index: NDArray[np.int64]


@dataclass(frozen=True)
class SelectedMasks:
    """K masks (K, h, w), each in its window of the same image."""

    logits: Tensor
    windows: tuple[Window, ...]
    grid: WindowGrid
    frame: ImageFrame

    def __len__(self) -> int:
        return len(self.windows)

    def stacks(self, most_pixels: int = CHUNK_PIXELS) -> Iterator[MaskStack]:
        """The masks at the image's scale, as many at once as ``most_pixels`` allow.

        A square model's masks go the reference's way: to model pixels, padding cut off, to the
        image. A window's are sampled where it lies, those of equal extent together.
        """
        return self._squares(most_pixels) if self._is_whole_square else self._sampled(most_pixels)

    def _squares(self, most_pixels: int) -> Iterator[MaskStack]:
        h, w = self.frame.resized_hw
        every = np.arange(len(self))
        for index in _chunks(every, most_pixels, self.frame.size_hw):
            part = self.logits[None, index[0] : index[-1] + 1]
            square = F.interpolate(part, self.frame.canvas_hw, mode="bilinear")[..., :h, :w]
            if (h, w) != self.frame.size_hw:
                square = F.interpolate(square, self.frame.size_hw, mode="bilinear")
            yield MaskStack(square[0], np.zeros((len(index), 2), np.int64), index)

    def _sampled(self, most_pixels: int) -> Iterator[MaskStack]:
        places = {w: window_in_image(w, self.grid, self.frame) for w in set(self.windows)}
        by_extent: dict[tuple[int, ...], list[int]] = {}
        for i, window in enumerate(self.windows):
            by_extent.setdefault(places[window][2].shape[:2], []).append(i)
        for (h, w), members in by_extent.items():
            for index in _chunks(np.array(members), most_pixels, (h, w)):
                windows = [self.windows[i] for i in index]
                grid = torch.from_numpy(np.stack([places[w][2] for w in windows]))
                sampled = F.grid_sample(
                    self.logits[index, None],
                    grid.to(self.logits),
                    padding_mode="border",
                    align_corners=False,
                )
                origins = np.array([[s.start for s in places[w][:2]] for w in windows])
                yield MaskStack(sampled[:, 0], origins, index)

    def masks(self, threshold: float) -> Tensor:
        """All masks at image size, (K, H, W) bool."""
        full = self.logits.new_zeros((len(self), *self.frame.size_hw), dtype=torch.bool)
        for stack in self.stacks(2 * CHUNK_PIXELS):
            h, w = stack.logits.shape[1:]
            for logits, (y, x), i in zip(
                stack.logits, stack.origins_yx.tolist(), stack.index.tolist(), strict=True
            ):
                full[i, y : y + h, x : x + w] = logits > threshold
        return full

    @property
    def _is_whole_square(self) -> bool:
        side = self.grid.side * self.grid.cell_px
        whole = self.grid.field_hw == (self.grid.side, self.grid.side)
        return whole and self.frame.canvas_hw == (side, side)


def _chunks(
    index: NDArray[np.int64], most_pixels: int, size_hw: tuple[int, int]
) -> Iterator[NDArray[np.int64]]:
    """``index`` in parts of as many masks of ``size_hw`` as ``most_pixels`` allow."""
    size = max(1, most_pixels // max(1, size_hw[0] * size_hw[1]))
    for start in range(0, len(index), size):
        yield index[start : start + size]


@dataclass(frozen=True)
class DecodedMasks:
    """Answers to K prompts: ``logits`` (K, M, h, w) and predicted ``iou`` (K, M), float32.

    ``asked`` (K,) says which of the prompts, in order; those rated too low may have been left out.
    """

    logits: Tensor
    iou: Tensor
    windows: tuple[Window, ...]
    asked: NDArray[np.int64]
    grid: WindowGrid
    frame: ImageFrame

    def select(self, keep: Tensor) -> SelectedMasks:
        """Those of ``keep`` (K, M) bool, row by row."""
        rows = keep.nonzero()[:, 0].tolist()
        windows = tuple(self.windows[r] for r in rows)
        return SelectedMasks(self.logits[keep], windows, self.grid, self.frame)

    def take(self, rows: NDArray[np.intp]) -> DecodedMasks:
        """The answers at ``rows``."""
        at = torch.as_tensor(rows, device=self.logits.device)
        windows = tuple(self.windows[r] for r in rows.tolist())
        return replace(
            self,
            logits=self.logits[at],
            iou=self.iou[at],
            windows=windows,
            asked=self.asked[rows],
        )


def _joined(parts: Sequence[DecodedMasks]) -> DecodedMasks:
    """All answers, in the order in which the prompts were asked."""
    if len(parts) == 1:
        return parts[0]
    windows = tuple(window for part in parts for window in part.windows)
    asked = np.concatenate([part.asked for part in parts])
    every = replace(
        parts[0],
        logits=torch.cat([part.logits for part in parts]),
        iou=torch.cat([part.iou for part in parts]),
        windows=windows,
        asked=asked,
    )
    return every.take(np.argsort(asked, kind="stable"))


def window_in_image(
    window: Window, grid: WindowGrid, frame: ImageFrame
) -> tuple[slice, slice, NDArray[np.float32]]:
    """Image rows and columns that a window covers, and where each of them samples it.

    The last is (rows, columns, 2), (x, y) in -1..1 over the window's square.
    """
    spans, samples = [], []
    covered = (grid.side << window.level) * grid.cell_px
    for start_cells, length, scale in zip(
        window.origin_yx, frame.size_hw, frame.scale_xy[::-1], strict=True
    ):
        start = start_cells * grid.cell_px
        centres = (np.arange(length) + 0.5) * scale
        inside = np.flatnonzero((centres >= start) & (centres < start + covered))
        low, high = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        spans.append(slice(low, high))
        samples.append(2 * (centres[low:high] - start) / covered - 1)
    ys, xs = samples
    at = np.stack(np.broadcast_arrays(xs[None, :], ys[:, None]), axis=-1)
    return spans[0], spans[1], at.astype(np.float32)


def coordinate_dtype(device: torch.device) -> torch.dtype:
    """Type in which prompts are placed: float64 as in the reference, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


@torch.inference_mode()
def decode(
    model: Model,
    embedding: Embedding,
    prompts: ModelPrompts,
    windows: Sequence[Window],
    multimask: bool,
    least_iou: float = -math.inf,
) -> DecodedMasks:
    """Decode each prompt in its window: three masks each, or one.

    Prompts none of whose masks is rated above ``least_iou`` are left out.
    """
    tile = embedding.tiles[0]
    grid = model.grid_for(tile.frame)
    sam, device = model.sam, model.device
    points = boxes = None
    if prompts.points_xy.shape[1]:
        moved = [grid.to_window_px(p, w) for p, w in zip(prompts.points_xy, windows, strict=True)]
        coords = torch.as_tensor(np.stack(moved), dtype=coordinate_dtype(device), device=device)
        points = (coords, torch.as_tensor(prompts.point_labels, device=device))
    if prompts.boxes_xyxy is not None:
        corners = prompts.boxes_xyxy.reshape(-1, 2, 2)
        moved = [grid.to_window_px(c, w) for c, w in zip(corners, windows, strict=True)]
        boxes = torch.as_tensor(np.stack(moved), dtype=coordinate_dtype(device), device=device)
        boxes = boxes.reshape(-1, 4)
    mask_input = None
    if prompts.logits is not None:
        mask_input = prompts.logits.to(sam.prompt_encoder.no_mask_embed.weight.dtype)
    same = len(set(windows)) == 1  # then the decoder shares one embedding among the prompts
    image = cut_windows(tile.features, list(windows[:1] if same else windows), grid.side)
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=mask_input)
    found = model.decoder.answer(image, sparse, dense, multimask, least_iou)
    asked = found.asked.cpu().numpy()
    answered = tuple(windows[i] for i in asked.tolist())
    return DecodedMasks(found.logits, found.iou, answered, asked, grid, tile.frame)


def outgrown(decoded: DecodedMasks, least_iou: float = OUTGROWN_IOU) -> NDArray[np.bool_]:
    """(B,) True where the best mask meets an edge of its window with more field beyond."""
    grid = decoded.grid
    best = decoded.iou.argmax(1)
    rows = torch.arange(len(best), device=best.device)
    mask = decoded.logits[rows, best] > 0
    rated = (decoded.iou[rows, best] >= least_iou).cpu().numpy()
    edges = (
        torch.stack(
            [mask[:, 0].any(1), mask[:, -1].any(1), mask[..., 0].any(1), mask[..., -1].any(1)],
            dim=1,
        )
        .cpu()
        .numpy()
    )
    beyond = np.empty_like(edges)
    for row, window in enumerate(decoded.windows):
        covered = grid.side << window.level
        (y, x), (h, w) = window.origin_yx, grid.field_hw
        beyond[row] = y > 0, y + covered < h, x > 0, x + covered < w
    return np.asarray((edges & beyond).any(1) & rated)


def decode_points(
    model: Model,
    embedding: Embedding,
    points_xy: NDArray[np.floating],
    least_iou: float = -math.inf,
) -> DecodedMasks:
    """One foreground point per prompt, (B, 2) image pixels -> three masks each.

    Where `nano`'s answer outgrows its window, the next larger window answers instead. Prompts none
    of whose masks is rated above ``least_iou`` may be left out.
    """
    frame = embedding.tiles[0].frame
    grid = model.grid_for(frame)
    at = frame.points_to_model(points_xy)
    if grid.top_level:
        least_iou = min(least_iou, OUTGROWN_IOU)  # a mask that will grow is drawn to see that
    parts, waiting = [], np.arange(len(at))
    for level in range(grid.top_level + 1):
        prompts = ModelPrompts(at[waiting][:, None], np.ones((len(waiting), 1), np.int64))
        windows = [grid.around(np.concatenate([p, p]), level) for p in at[waiting]]
        decoded = decode(model, embedding, prompts, windows, True, least_iou)
        decoded = replace(decoded, asked=waiting[decoded.asked])
        grows = np.zeros(len(decoded.asked), bool)
        if level < grid.top_level:
            grows = outgrown(decoded)
        parts.append(decoded.take(np.flatnonzero(~grows)) if grows.any() else decoded)
        waiting = decoded.asked[grows]
        if len(waiting) == 0:
            break
    return _joined(parts)
