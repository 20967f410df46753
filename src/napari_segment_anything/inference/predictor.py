"""Encode an image once, predict masks for many prompts: arrays in, NumPy out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..geometry.frames import ImageFrame
from ..structures import EmbeddedTile, Embedding, MaskPrediction, Progress, Prompt
from .decoding import DecodedMasks, ModelPrompts, decode, outgrown
from .model import Model
from .noise import quieted
from .preprocess import to_rgb8
from .windows import Window, WindowGrid

MASK_LOGIT = 10.0
"""A mask prompt's pixels become logits of this size: sure, as the decoder's own answers are."""


def encode(
    model: Model,
    image: ArrayLike,
    *,
    contrast_limits: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> Embedding:
    """Run the image encoder, always; keep the result and predict from it many times.

    An encoder of any size, such as `nano`'s, is shown a noisy image smoothed (`noise`).

    Args:
        model: from `load_model`.
        image: (H, W), (H, W, 3) or (H, W, 4), bool, integer or float. uint8 colour goes in
            unchanged; everything else is stretched linearly to 0..255.
        contrast_limits: (low, high) of the stretch; by default the 0.1 and 99.9 percentiles.
        progress: called as ``progress(done, total)`` between encoder blocks; an exception
            raised in it cancels.

    Raises:
        ValueError: if ``image`` cannot be an image.
    """
    rgb = to_rgb8(image, contrast_limits)
    if model.encodes_any_size:  # Segment Anything's own encoders see what their reference shows
        rgb = quieted(rgb)
    frame = model.frame_for((rgb.shape[0], rgb.shape[1]))
    with torch.inference_mode():
        pixels = model_input(model, rgb, frame)
        features = model.sam.image_encoder(pixels, progress=progress)
    tile = EmbeddedTile(features, frame)
    return Embedding(frame, model.digest, (tile,))


def model_input(model: Model, rgb: NDArray[np.uint8], frame: ImageFrame) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, h, w) on the model's device: resized, normalised, padded.

    Pillow resizes, as in the reference: PyTorch's interpolation of uint8 rounds otherwise.
    """
    if frame.resized_hw != frame.size_hw:
        size_wh = (frame.resized_hw[1], frame.resized_hw[0])
        rgb = np.asarray(Image.fromarray(rgb).resize(size_wh, Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(rgb.copy()).to(model.device).permute(2, 0, 1)[None]
    sam = model.sam
    x = (pixels.to(sam.pixel_mean.dtype) - sam.pixel_mean) / sam.pixel_std
    (h, w), (canvas_h, canvas_w) = frame.resized_hw, frame.canvas_hw
    return F.pad(x, (0, canvas_w - w, 0, canvas_h - h)).to(model.dtype)


def predict(
    model: Model,
    embedding: Embedding,
    points_xy: ArrayLike | None = None,
    point_labels: ArrayLike | None = None,
    box_xyxy: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    multimask: bool | None = None,
) -> MaskPrediction:
    """Masks of one object for one prompt, any mixture of points, a box and a mask.

    Args:
        model: the model that made ``embedding``.
        embedding: from `encode`.
        points_xy: (N, 2) image pixels, x then y.
        point_labels: (N,) 1 foreground, 0 background.
        box_xyxy: (4,) left, top, right, bottom in image pixels; right and bottom exclusive.
        mask: (H, W) bool or integer, non-zero is object, or float low-res logits (h, w) or
            (1, h, w) of an earlier prediction on this embedding.
        multimask: three masks or one; by default three if the only prompt is one point.

    Returns:
        ``masks`` (M, H, W) bool, ``iou`` (M,) float32, ``logits`` (M, h, w) float32.

    Raises:
        ValueError: no prompt, unequal lengths, wrong shapes, or an embedding of another model.
    """
    if not isinstance(embedding, Embedding):
        raise ValueError(f"Expected an Embedding from encode(), got {type(embedding).__name__}.")
    if embedding.model_digest != model.digest:
        raise ValueError(
            f"Expected an embedding made by {model.name!r} ({model.digest[:12]}), got one of "
            f"another model ({embedding.model_digest[:12]}); encode the image again."
        )
    prompt = checked_prompt(embedding.frame, points_xy, point_labels, box_xyxy, mask)
    count = 0 if prompt.points_xy is None else len(prompt.points_xy)
    only_point = count == 1 and prompt.box_xyxy is None and prompt.mask is None
    three = only_point if multimask is None else bool(multimask)
    decoded = _decode_prompt(model, embedding, prompt, three)
    rows = decoded.logits[0]
    keep = torch.ones((1, len(rows)), dtype=torch.bool, device=rows.device)
    masks = decoded.select(keep).masks(model.sam.mask_threshold)
    return MaskPrediction(
        masks.cpu().numpy(),
        decoded.iou[0].cpu().numpy().astype(np.float32, copy=False),
        field_logits(decoded).cpu().numpy(),
    )


def checked_prompt(
    frame: ImageFrame,
    points_xy: ArrayLike | None,
    point_labels: ArrayLike | None,
    box_xyxy: ArrayLike | None,
    mask: ArrayLike | None,
) -> Prompt:
    """The prompt with every array in its shape and type, or a `ValueError` that says why not."""
    points, labels = _checked_points(points_xy, point_labels)
    box = None if box_xyxy is None else np.asarray(box_xyxy, np.float64)
    if box is not None:
        if box.shape == (1, 4):
            box = box[0]
        if box.shape != (4,) or not np.isfinite(box).all():
            raise ValueError(f"Expected one finite box (x0, y0, x1, y1), got {box_xyxy!r}.")
        if box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError(
                f"Expected a box with x0 < x1 and y0 < y1, got {box.tolist()}; draw it larger."
            )
    prompt = Prompt(points, labels, box, _checked_mask(frame, mask))
    if prompt.is_empty:
        raise ValueError("Expected a point, a box or a mask, got no prompt; give one.")
    return prompt


def _checked_points(
    points_xy: ArrayLike | None, point_labels: ArrayLike | None
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    if points_xy is None:
        if point_labels is not None and np.size(point_labels):
            raise ValueError("Expected points_xy for the point_labels given, got none.")
        return None, None
    points = np.asarray(points_xy, np.float64)
    if points.size == 0:
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"Expected finite points_xy (N, 2), got shape {points.shape}.")
    if point_labels is None:
        raise ValueError(
            f"Expected {len(points)} point_labels, got none; 1 is foreground, 0 background."
        )
    labels = np.asarray(point_labels).reshape(-1)
    if len(labels) != len(points):
        raise ValueError(f"Expected {len(points)} point_labels, one per point, got {len(labels)}.")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"Expected point_labels of 0 and 1, got {np.unique(labels).tolist()}.")
    return (points, labels.astype(np.int64)) if len(points) else (None, None)


def _checked_mask(frame: ImageFrame, mask: ArrayLike | None) -> NDArray[Any] | None:
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.dtype.kind == "f":
        if array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
        if array.ndim != 2:
            raise ValueError(f"Expected low-res logits (h, w), got shape {array.shape}.")
        if not np.isfinite(array).all():
            raise ValueError("Expected finite low-res logits, got NaN or inf among them.")
        return array.astype(np.float32)
    if array.dtype.kind not in "bui" or array.shape != frame.size_hw:
        raise ValueError(
            f"Expected a bool or integer mask {frame.size_hw} or float low-res logits, "
            f"got {array.dtype} {array.shape}."
        )
    if not array.any():
        raise ValueError("Expected a mask with an object in it, got an empty one; paint it first.")
    return np.asarray(array != 0)


def _decode_prompt(
    model: Model, embedding: Embedding, prompt: Prompt, multimask: bool
) -> DecodedMasks:
    """One prompt, in the window that suits it; a lone point's window may grow."""
    frame = embedding.tiles[0].frame
    grid = model.grid_for(frame)
    logits = None if prompt.mask is None else mask_logits(prompt.mask, frame, grid, model.device)
    extent = _extent(prompt, logits, frame, grid)
    size = float(max(extent[2] - extent[0], extent[3] - extent[1]))
    level = grid.level_for(size)
    may_grow = prompt.box_xyxy is None
    while True:
        window = grid.around(extent, level)
        decoded = decode(
            model, embedding, _in_model(prompt, logits, window, frame, grid), [window], multimask
        )
        if not (may_grow and level < grid.top_level and outgrown(decoded)[0]):
            return decoded
        level += 1


def _extent(
    prompt: Prompt, logits: Tensor | None, frame: ImageFrame, grid: WindowGrid
) -> NDArray[np.float64]:
    """(x0, y0, x1, y1) in model pixels of everything that says where the object is."""
    corners = []
    if prompt.box_xyxy is not None:
        corners.append(frame.boxes_to_model(prompt.box_xyxy).reshape(2, 2))
    if prompt.points_xy is not None and prompt.point_labels is not None:
        wanted = prompt.points_xy[prompt.point_labels == 1]
        corners.append(frame.points_to_model(wanted))
    if logits is not None:
        ys, xs = (logits > 0).nonzero(as_tuple=True)
        if len(ys):
            low_px = grid.cell_px / 4
            box = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
            corners.append(box.cpu().double().numpy().reshape(2, 2) * low_px)
    if not corners or sum(map(len, corners)) == 0:
        background = prompt.points_xy if prompt.points_xy is not None else np.zeros((1, 2))
        corners = [frame.points_to_model(background)]
    every = np.concatenate(corners)
    return np.concatenate([every.min(0), every.max(0)])


def mask_logits(
    mask: NDArray[Any], frame: ImageFrame, grid: WindowGrid, device: torch.device
) -> Tensor:
    """A mask prompt as low-res logits of the whole field, (h, w), four a feature cell.

    Bool masks are averaged over each low-res pixel: inside is 10, outside -10.

    Raises:
        ValueError: float logits whose shape is not that of a prediction on this embedding.
    """
    size = (grid.field_hw[0] * 4, grid.field_hw[1] * 4)
    if mask.dtype.kind == "f":
        if mask.shape != size:
            raise ValueError(
                f"Expected low-res logits {size} of a prediction on this embedding, "
                f"got {mask.shape}."
            )
        return torch.from_numpy(mask).to(device)
    x = torch.from_numpy(mask).to(device, torch.float32)[None, None]
    x = F.interpolate(x, frame.resized_hw, mode="bilinear", antialias=True)
    (h, w), (canvas_h, canvas_w) = frame.resized_hw, frame.canvas_hw
    x = F.pad(x, (0, canvas_w - w, 0, canvas_h - h))
    covered = F.interpolate(x, size, mode="area")[0, 0]
    return (2 * covered - 1) * MASK_LOGIT


def _in_model(
    prompt: Prompt,
    logits: Tensor | None,
    window: Window,
    frame: ImageFrame,
    grid: WindowGrid,
) -> ModelPrompts:
    """The prompt in model pixels, its logits cut out and pooled for the window."""
    points = np.zeros((1, 0, 2))
    labels = np.zeros((1, 0), np.int64)
    if prompt.points_xy is not None and prompt.point_labels is not None:
        moved = frame.points_to_model(prompt.points_xy)
        seen = np.ones(len(moved), bool)
        if grid.top_level:  # else the window is the whole field, and a click beside it is one, too
            rows, cols = grid.span_px(window)
            nearest = np.clip(moved, (cols.start, rows.start), (cols.stop - 1, rows.stop - 1))
            # A click on the outer half of an edge pixel is just beyond; what belongs to the object
            # counts wherever it is, what does not belong to it only near by.
            near = np.abs(moved - nearest).max(axis=1) <= max(frame.scale_xy)
            seen, moved = near | (prompt.point_labels == 1), nearest
        points, labels = moved[None, seen], prompt.point_labels[None, seen].astype(np.int64)
    boxes = None if prompt.box_xyxy is None else frame.boxes_to_model(prompt.box_xyxy)[None]
    return ModelPrompts(points, labels, boxes, _window_logits(logits, window, grid))


def _window_logits(logits: Tensor | None, window: Window, grid: WindowGrid) -> Tensor | None:
    """(h, w) low-res logits of the field -> (1, 1, 4 side, 4 side) of the window."""
    if logits is None:
        return None
    y, x = (4 * o for o in window.origin_yx)
    covered = 4 * (grid.side << window.level)
    cut = logits[y : y + covered, x : x + covered]
    missing = (0, covered - cut.shape[1], 0, covered - cut.shape[0])
    cut = F.pad(cut, missing, value=-MASK_LOGIT)[None, None]
    return F.avg_pool2d(cut, window.pool) if window.level else cut


def field_logits(decoded: DecodedMasks) -> Tensor:
    """First prompt's logits (M, h, w) over the whole field; surely background around its window."""
    logits, window, grid = decoded.logits[0], decoded.windows[0], decoded.grid
    size = (grid.field_hw[0] * 4, grid.field_hw[1] * 4)
    if logits.shape[1:] == size:
        return logits
    if window.level:
        logits = F.interpolate(logits[None], scale_factor=float(window.pool), mode="bilinear")[0]
    y, x = (4 * o for o in window.origin_yx)
    field = logits.new_full((len(logits), *size), -MASK_LOGIT)
    part = field[:, y : y + logits.shape[1], x : x + logits.shape[2]]
    part.copy_(logits[:, : part.shape[1], : part.shape[2]])
    return field
