"""Microscopes differ, and so do specimens: light, colour, focus, noise and shape, at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .synthesis import Rng, log_uniform, smooth_noise

MOST_BENT = 3.0
"""Deviation of how far a crop's pixels are moved, at most, in pixels."""

BENT_OVER = 0.15
"""Over what part of the crop's side the bending changes its direction."""

LARGEST_GRAIN_PX = 2.5
"""Side of a camera's pixel in a crop, at most: images are enlarged, and their noise with them."""

DYES = {"haematoxylin": (0.65, 0.70, 0.29), "DAB": (0.27, 0.57, 0.78), "black": (0.58, 0.58, 0.58)}
"""What a dye takes of red, green and blue; the first two by Ruifrok and Johnston 2001."""

GROUND_DYES = {
    "eosin": (0.07, 0.99, 0.11),
    "haematoxylin": DYES["haematoxylin"],
    "black": DYES["black"],
}
"""The same of what lies around nuclei."""


def flip_and_turn(rng: Rng, *maps: Tensor) -> list[Tensor]:
    """The same quarter turns and mirroring for all ``maps`` (..., S, S)."""
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    out = []
    for m in maps:
        turned = torch.rot90(m, turns, (-2, -1))
        out.append((turned.flip(-1) if mirror else turned).contiguous())
    return out


def bent(rng: Rng, image: Tensor, inside: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """(C, S, S), (1, S, S) and (S, S) int64, turned by any angle, stretched, bent like a tissue.

    What comes from beyond the crop's edge is not ``inside``, and no object.
    """
    side = labels.shape[-1]
    angle, stretch = rng.uniform(0, 2 * np.pi), 2.0 ** rng.normal(0, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = torch.zeros(1, 2, 3, dtype=torch.float64)
    matrix[0, :, :2] = torch.from_numpy(turn @ np.diag([stretch, 1 / stretch]))
    grid = F.affine_grid(matrix, [1, 1, side, side], align_corners=False)
    reach = rng.uniform(0, MOST_BENT) * 2 / side
    for axis in range(2):
        bend = smooth_noise(rng, (side, side), BENT_OVER * side)
        grid[0, :, :, axis] += reach * torch.from_numpy(bend)

    def sampled(plane: Tensor, mode: str) -> Tensor:
        out = F.grid_sample(plane[None].double(), grid, mode, "zeros", align_corners=False)[0]
        return out.to(plane.dtype)

    ids = sampled(labels[None], "nearest")[0]
    return sampled(image, "bilinear"), sampled(inside, "nearest"), ids


def augment_pixels(rng: Rng, image: Tensor) -> Tensor:
    """(3, H, W) float 0..255 -> the same, changed by a random chain of what microscopes do."""
    x = image / 255
    if rng.random() < 0.25:
        x = 1 - x
    if rng.random() < 0.25:
        x = x.mean(0, keepdim=True).expand(3, -1, -1)
    if rng.random() < 0.6:
        x = x.clamp(min=1e-4) ** float(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.5:
        gain = torch.as_tensor(np.exp(rng.normal(0, 0.35)), dtype=x.dtype)
        x = x * gain + float(rng.normal(0, 0.05))
    if rng.random() < 0.25:
        tint = np.exp(rng.normal(0, 0.2, 3))
        x = x * torch.as_tensor(tint, dtype=x.dtype)[:, None, None]
    if rng.random() < 0.2:
        x = x[torch.as_tensor(rng.permutation(3))]
    if rng.random() < 0.3:
        height, width = x.shape[-2:]
        shade = torch.from_numpy(smooth_noise(rng, (height, width), 0.7 * height))
        x = x * (1 + float(rng.uniform(0.05, 0.25)) * shade)
    if rng.random() < 0.25:
        x = _blurred(x, float(rng.uniform(0.6, 2.2)))
    if rng.random() < 0.6:
        x = noisy(rng, x)
    return x.clamp(0, 1) * 255


def stained(rng: Rng, image: Tensor) -> Tensor:
    """(3, H, W) fluorescence in 0..1 -> the same specimen on a dyed slide under a white lamp.

    What shone takes up a nuclear dye, which absorbs by Beer and Lambert; around it lie patches of
    another dye, as cytoplasm and stroma do.
    """
    size = (image.shape[-2], image.shape[-1])
    shone = image.mean(0)
    low, high = (float(shone.quantile(q)) for q in (0.02, 0.995))
    amount = ((shone - low) / max(high - low, 1e-3)).clamp(0, 1.2) ** float(rng.uniform(0.5, 1))
    patches = torch.from_numpy(smooth_noise(rng, size, float(rng.uniform(12, 80))))
    steepness = log_uniform(rng, 1, 12)
    ground = torch.sigmoid(steepness * (patches + float(rng.normal(0, 0.7))))
    grain = torch.from_numpy(smooth_noise(rng, size, float(rng.uniform(2, 8))))
    ground = ground * (1 + float(rng.uniform(0, 0.15)) * grain)
    dyes = [
        torch.tensor(tones[str(rng.choice(list(tones)))]) * np.exp(rng.normal(0, 0.15, 3))
        for tones in (DYES, GROUND_DYES)
    ]
    taken = float(rng.uniform(0.9, 2.2)) * amount * dyes[0][:, None, None]
    taken = taken + float(rng.uniform(0, 0.7)) * ground * dyes[1][:, None, None]
    return (float(rng.uniform(0.8, 1)) * torch.exp(-taken)).to(image.dtype)


def noisy(rng: Rng, image: Tensor) -> Tensor:
    """(3, H, W) with noise of up to an eighth of its own range, in half of them of its light.

    A dim image has dim noise. A camera without colour has the same in all three channels. The
    noise is of the camera's pixels, which are as large as the crop's or larger.
    """
    planes = image.shape[0] if rng.random() < 0.3 else 1
    noise = _grainy(rng, planes, (image.shape[-2], image.shape[-1]))
    low, high = image.amin(), image.amax()
    sigma = float(rng.uniform(0.01, 0.125)) * (high - low)
    if rng.random() < 0.5:  # of photons: more where there is more light
        sigma = sigma * (2 * (image - low) / (high - low).clamp(min=1e-4)).sqrt()
    return image + sigma * noise


def _grainy(rng: Rng, planes: int, size: tuple[int, int]) -> Tensor:
    """(planes, H, W) noise of deviation 1 on a camera's pixels, enlarged to the crop's."""
    grain = LARGEST_GRAIN_PX ** rng.uniform(0, 1)
    camera = [int(np.ceil(side / grain)) for side in size]
    noise = torch.from_numpy(rng.standard_normal((1, planes, *camera), dtype=np.float32))
    return F.interpolate(noise, size, mode="bilinear", align_corners=False)[0]


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """(3, H, W) blurred by a Gaussian of ``sigma`` pixels."""
    radius = max(1, round(2.5 * sigma))
    at = torch.arange(-radius, radius + 1, dtype=image.dtype)
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(image[:, None], (radius, radius, radius, radius), mode="replicate")
    x = F.conv2d(x, kernel.view(1, 1, -1, 1))
    return F.conv2d(x, kernel.view(1, 1, 1, -1))[:, 0]
