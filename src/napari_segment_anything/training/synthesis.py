"""Images drawn by code, with their labels: shapes and looks that a nuclei set does not have.

Blobs (touching or apart), rings, rods, filaments and textured regions, light on dark and dark on
light, under uneven illumination and noise. Drawn with NumPy from a generator, so a seed
reproduces a set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

Rng = np.random.Generator
Grid = NDArray[np.float32]
MOST_OBJECTS = 250
LATTICE_PART = 0.25
CORNERED_PART = 0.2
"""Objects between a disk and a rectangle."""

FLAT_PART = 0.2
"""Scenes as a program draws them, or a scanner sees print: even tones, sharp, without noise."""

KINDS = ("blobs", "rings", "rods", "filaments", "regions")


@dataclass(frozen=True)
class Scene:
    """``image`` (H, W, 3) uint8 with ``labels`` (H, W) int32, 0 background; ``kind`` names it.

    ``raw`` is the image as it lies on disk, where it came from there.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    kind: str
    raw: NDArray[Any] | None = None


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """A number between ``low`` and ``high``, each of its magnitudes as likely as another."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smooth_noise(rng: Rng, size: tuple[int, int], scale_px: float) -> Grid:
    """(H, W) Gaussian noise of correlation length ``scale_px``, mean 0, deviation 1."""
    coarse = [max(2, int(np.ceil(s / scale_px)) + 3) for s in size]
    fine = [round(n * scale_px) for n in coarse]
    field = torch.from_numpy(rng.standard_normal(coarse))[None, None]
    field = F.interpolate(field, fine, mode="bilinear", align_corners=True)[0, 0]
    grid = field[: size[0], : size[1]].numpy()
    return np.asarray((grid - grid.mean()) / (grid.std() + 1e-6), np.float32)


def _local_grid(
    centre: NDArray[np.floating], reach: float, size: tuple[int, int]
) -> tuple[tuple[slice, slice], Grid, Grid] | None:
    """Window of half-side ``reach`` around (y, x), with its pixels' offsets; None if outside."""
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, size)
    if (high <= low).any():
        return None
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]].astype(np.float32)
    window = (slice(low[0], high[0]), slice(low[1], high[1]))
    return window, y - np.float32(centre[0]), x - np.float32(centre[1])


def _blob_radius(rng: Rng, angle: Grid, radius: float) -> Grid:
    """Radius of a wobbly outline at each ``angle``."""
    outline = np.ones_like(angle)
    for k in range(2, 5):
        outline += rng.normal(0, 0.09 / (k - 1)) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return radius * outline


def _blob(rng: Rng, y: Grid, x: Grid, radius: float, kind: str) -> NDArray[np.bool_]:
    """One object of ``kind`` around the origin of the offsets ``y``, ``x``."""
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if kind == "rods":
        width = radius * rng.uniform(0.25, 0.45)
        bend = rng.normal(0, 0.25) / radius
        along = np.maximum(np.abs(u) - (radius - width), 0)
        inside: NDArray[np.bool_] = np.hypot(along, v - bend * u * u) < width
        return inside
    stretch = rng.uniform(1.0, 1.6)
    u, v = u * np.sqrt(stretch), v / np.sqrt(stretch)
    has_corners = rng.random() < CORNERED_PART
    power = log_uniform(rng, 3, 30) if has_corners else 2.0
    distance = np.linalg.norm(np.stack([u, v]).astype(np.float64), power, axis=0)
    outer = _blob_radius(rng, np.arctan2(v, u), radius * 0.85)
    inside = distance < outer
    if kind == "rings":
        inside &= distance > outer * rng.uniform(0.35, 0.65)
    return inside


def _filament(rng: Rng, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A wandering line a few pixels wide."""
    steps = int(rng.integers(40, 140))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.13, steps))
    path = rng.uniform(0, size, 2)[:, None] + 1.5 * np.cumsum([np.sin(heading), np.cos(heading)], 1)
    y, x = np.rint(path).astype(int)
    keep = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
    line = np.zeros(size, bool)
    line[y[keep], x[keep]] = True
    return np.asarray(ndimage.distance_transform_edt(~line) < rng.uniform(1.5, 4.0))


def _scattered(rng: Rng, size: tuple[int, int], typical: float) -> NDArray[np.float64]:
    """(N, 2) places (y, x) for objects of radius ``typical``: anywhere, or most in clusters."""
    cover = rng.uniform(0.05, 0.5)
    count = int(np.clip(cover * size[0] * size[1] / (np.pi * typical**2), 2, MOST_OBJECTS))
    centres = rng.uniform(0, size, (count, 2))
    if rng.random() < 0.6:
        clusters = rng.uniform(0, size, (max(1, count // 6), 2))
        member = rng.random(count) < 0.7
        middles = clusters[rng.integers(len(clusters), size=int(member.sum()))]
        centres[member] = middles + rng.normal(0, 1.6 * typical, middles.shape)
    return centres


def _lattice(rng: Rng, size: tuple[int, int], typical: float) -> NDArray[np.float64]:
    """(N, 2) places (y, x) side by side in rows, as wells, beads and epithelia lie."""
    step = typical * rng.uniform(1.9, 3.5)
    reach = int(np.hypot(*size) / step) // 2 + 1
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).astype(float)
    cols += rng.choice([0.0, 0.5]) * (rows % 2)
    turn = rng.uniform(0, np.pi / 2)
    y, x = step * rows, step * cols
    turned = np.stack([y * np.cos(turn) - x * np.sin(turn), y * np.sin(turn) + x * np.cos(turn)], 1)
    centres = (
        turned + np.asarray(size) / 2 + rng.normal(0, rng.uniform(0, 0.2) * typical, (len(y), 2))
    )
    inside = ((centres > -typical) & (centres < np.asarray(size) + typical)).all(axis=1)
    return np.asarray(rng.permutation(centres[inside]), np.float64)


def draw_objects(rng: Rng, size: tuple[int, int], kind: str) -> NDArray[np.int32]:
    """(H, W) labels with objects of ``kind``; later objects go under earlier ones."""
    labels = np.zeros(size, np.int32)
    if kind == "regions":
        return _draw_regions(rng, size)
    if kind == "filaments":
        for label in range(1, int(rng.integers(2, 7))):
            labels[_filament(rng, size) & (labels == 0)] = label
        return labels
    typical = log_uniform(rng, 4, min(size) / 5)
    spread = 0.2
    if rng.random() < LATTICE_PART:
        centres, spread = _lattice(rng, size, typical), float(rng.uniform(0, 0.12))
    else:
        centres = _scattered(rng, size, typical)
    for label, centre in enumerate(centres[:MOST_OBJECTS], start=1):
        radius = typical * float(np.exp(rng.normal(0, spread)))
        local = _local_grid(centre, 2.0 * radius + 2, size)
        if local is None:
            continue
        window, y, x = local
        shape = _blob(rng, y, x, max(radius, 2.5), kind)
        taken = labels[window] > 0
        if (shape & taken).sum() > 0.35 * shape.sum():
            continue
        labels[window][shape & ~taken] = label
    return labels


def _draw_regions(rng: Rng, size: tuple[int, int]) -> NDArray[np.int32]:
    """A few large patches with wavy borders: tissue, colonies, cut-outs of a texture."""
    seeds = rng.uniform(0, size, (int(rng.integers(4, 14)), 2))
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    warp = 0.06 * min(size)
    y = y + warp * smooth_noise(rng, size, 24)
    x = x + warp * smooth_noise(rng, size, 24)
    nearest = np.argmin([np.hypot(y - sy, x - sx) for sy, sx in seeds], axis=0)
    labels = (nearest + 1).astype(np.int32)
    background = rng.random(len(seeds) + 1) < 0.4
    background[1] = False
    labels[background[labels]] = 0
    return np.asarray(labels)


def _texture(rng: Rng, size: tuple[int, int]) -> Grid:
    """(H, W) mean 0: plain, grainy or striped."""
    kind = rng.integers(4)
    if kind == 0:
        return np.zeros(size, np.float32)
    if kind == 3:
        y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
        turn, period = rng.uniform(0, np.pi), rng.uniform(4, 16)
        across = x * np.cos(turn) + y * np.sin(turn)
        return np.asarray(np.sin(across * (2 * np.pi / period)), np.float32)
    return smooth_noise(rng, size, float(rng.uniform(1.5, 8)))


def paint(rng: Rng, labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(H, W) labels -> (H, W, 3) uint8: intensities, textures, shading, blur and noise."""
    size = labels.shape
    count = int(labels.max())
    contrast = rng.uniform(0.12, 0.6) * (1 if rng.random() < 0.65 else -1)
    base = rng.uniform(0.05, 0.4) if contrast > 0 else rng.uniform(0.6, 0.95)
    spread = 0.25 if rng.random() < 0.75 else 0.0
    levels = np.zeros(count + 1, np.float32)
    levels[1:] = contrast * np.exp(rng.normal(0, spread, count))
    tone = levels[labels]
    if rng.random() < FLAT_PART:
        return _coloured(rng, base + tone)
    if rng.random() < 0.4:  # brighter or darker towards the border, as membranes and domes are
        depth = ndimage.distance_transform_edt(labels > 0).astype(np.float32)
        tone = tone * (1 + rng.uniform(-0.5, 0.4) * np.exp(-depth / rng.uniform(1.5, 6)))
    grain = rng.uniform(0, 0.12)
    light = base + tone + grain * np.where(labels > 0, _texture(rng, size), _texture(rng, size))
    if rng.random() < 0.5:
        light = light * (1 + rng.uniform(0.05, 0.3) * smooth_noise(rng, size, 0.6 * min(size)))
    light = light + rng.uniform(0, 0.06) * smooth_noise(rng, size, float(rng.uniform(20, 80)))
    light = ndimage.gaussian_filter(light, rng.uniform(0.3, 1.8))
    light = light + rng.uniform(0, 0.08) * rng.standard_normal(size)
    return _coloured(rng, light)


def _coloured(rng: Rng, light: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(H, W) light around 0..1 -> (H, W, 3) uint8, grey or of one hue."""
    gain, offset = np.ones(3), np.zeros(3)
    if rng.random() < 0.35:
        gain, offset = rng.uniform(0.4, 1.2, 3), rng.uniform(-0.1, 0.2, 3)
    colour = 255 * (light[..., None] * gain + offset)
    return np.asarray(np.clip(colour, 0, 255), np.uint8)


def synthesise(rng: Rng, size: tuple[int, int] = (256, 256)) -> Scene:
    """One random image with its labels."""
    kind = str(rng.choice(KINDS, p=[0.45, 0.15, 0.15, 0.1, 0.15]))
    labels = draw_objects(rng, size, kind)
    return Scene(paint(rng, labels), labels, f"synthetic {kind}")


def empty_scene(rng: Rng, size: tuple[int, int] = (256, 256)) -> Scene:
    """Light without an object: an even field, a slope, or what lies far out of focus, with noise.

    Stretched to what 8 bits hold, as a camera's counts are before they are encoded.
    """
    light: NDArray[np.floating] = np.zeros(size, np.float32)
    if rng.random() < 0.75:
        light = clouds(rng, size, log_uniform(rng, 6, 60))
    if rng.random() < 0.4:
        light = light + rng.uniform(0.1, 1) * clouds(rng, size, 2.0 * max(size))
    noise = log_uniform(rng, 0.01, 0.6)
    light = light + noise * rng.standard_normal(size)
    low, high = np.quantile(light, [0.001, 0.999])
    unit = (light - low) / max(high - low, 1e-6)
    floor, reach = rng.uniform(0, 0.3), rng.uniform(0.3, 1)
    tint = np.exp(rng.normal(0, 0.2, 3)) if rng.random() < 0.3 else np.ones(3)
    colour = 255 * np.clip((floor + reach * unit)[..., None] * tint, 0, 1)
    return Scene(np.asarray(colour, np.uint8), np.zeros(size, np.int32), "synthetic nothing")


def clouds(rng: Rng, size: tuple[int, int], scale_px: float) -> Grid:
    """(H, W) white noise under a Gaussian of ``scale_px``, mean 0, deviation 1; without creases.

    Made on a coarser grid, three cells a deviation.
    """
    step = max(1.0, scale_px / 3)
    coarse = [int(np.ceil(s / step)) + 2 for s in size]
    margin = 10
    noise = rng.standard_normal([c + 2 * margin for c in coarse])
    field = ndimage.gaussian_filter(noise, scale_px / step)[margin:-margin, margin:-margin]
    field = ndimage.zoom(field, step, order=3)[: size[0], : size[1]]
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)
