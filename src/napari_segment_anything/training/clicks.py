"""Simulated prompts: what a person would click next, drawn from a true mask.

All functions are batched over prompts and work on masks at low-res size, in cells; one cell is
``cell_px`` model pixels. Points are (x, y) in model pixels, in the frame in which the prompt
encoder expects them (a pixel's index, not its centre). A ``generator`` draws where the masks are.
Recipe: Kirillov et al. 2023, A.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BOX_NOISE = 0.1
"""Deviation of a drawn box's edges from the object's, part of the side (A.2)."""


def cells_to_points(cells: Tensor, width: int, cell_px: float) -> Tensor:
    """(B,) flat indices of cells in a field ``width`` wide -> (B, 2) points at their centres."""
    x = (cells % width).to(torch.float32)
    y = torch.div(cells, width, rounding_mode="floor").to(torch.float32)
    return (torch.stack([x, y], dim=-1) + 0.5) * cell_px - 0.5


def interior_weight(region: Tensor, radius: int = 2) -> Tensor:
    """(B, h, w) bool -> (B, h, w) float, larger the further a cell lies inside its region."""
    solid = region[:, None].to(torch.float32)
    weight = solid
    for _ in range(2):
        weight = solid * F.avg_pool2d(weight, 2 * radius + 1, stride=1, padding=radius)
    return weight[:, 0]


def sample_cells(weight: Tensor, generator: torch.Generator) -> Tensor:
    """(B, h, w) non-negative weights -> (B,) flat cell indices; an all-zero row is uniform."""
    flat = weight.flatten(1)
    flat = torch.where(flat.sum(1, keepdim=True) > 0, flat, torch.ones_like(flat))
    return torch.multinomial(flat, 1, generator=generator)[:, 0]


def first_points(masks: Tensor, cell_px: float, generator: torch.Generator) -> Tensor:
    """(B, h, w) bool true masks -> (B, 2) points in them; half of them well inside.

    The paper draws uniformly; people aim at the middle, so half of the draws do too.
    """
    inside = interior_weight(masks, radius=2)
    uniform = masks.to(torch.float32)
    aimed = torch.rand(len(masks), 1, 1, generator=generator, device=masks.device) < 0.5
    cells = sample_cells(torch.where(aimed, inside**4, uniform), generator)
    return cells_to_points(cells, masks.shape[-1], cell_px)


def correction_points(
    predicted: Tensor, masks: Tensor, cell_px: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Next click of a person who sees ``predicted`` and wants ``masks``; both (B, h, w) bool.

    Returns points (B, 2) from the error region, and labels (B,): 1 where the object was missed,
    0 where background was taken. A perfect mask gets a foreground point, as in the paper.
    """
    error = predicted ^ masks
    perfect = ~error.flatten(1).any(1)
    weight = torch.where(perfect[:, None, None], interior_weight(masks), interior_weight(error))
    cells = sample_cells(weight, generator)
    labels = masks.flatten(1).gather(1, cells[:, None])[:, 0].to(torch.int64)
    return cells_to_points(cells, masks.shape[-1], cell_px), labels


def tight_boxes(masks: Tensor, cell_px: float) -> Tensor:
    """(B, h, w) bool, none empty -> (B, 4) boxes (x0, y0, x1, y1), right and bottom exclusive."""
    edges = []
    for axis in (1, 2):
        line = masks.any(dim=axis).to(torch.float32)
        n = line.shape[1]
        low = line.argmax(1)
        high = n - line.flip(1).argmax(1)
        edges.append((low, high))
    (x0, x1), (y0, y1) = edges
    return torch.stack([x0, y0, x1, y1], dim=-1).to(torch.float32) * cell_px


def noised_boxes(
    boxes: Tensor,
    generator: torch.Generator,
    part: float | Tensor = BOX_NOISE,
    most_px: float = 20.0,
) -> Tensor:
    """(B, 4) -> (B, 4): each edge moved by N(0, ``part`` of the side), at most ``most_px``.

    ``part`` may be (B, 1), one for each box.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.randn(boxes.shape, generator=generator, device=boxes.device) * part * sides
    limit = torch.minimum(0.3 * sides, torch.full_like(sides, most_px))
    return boxes + noise.clamp(-limit, limit)
