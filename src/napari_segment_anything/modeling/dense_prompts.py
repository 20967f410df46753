"""Prompts drawn as maps: `nano`'s way to tell a small decoder where the clicks are.

A narrow model trained from scratch is slow to learn that a Fourier code means a place. Disks and
boxes drawn into the mask prompt say the same in a way that a convolution sees (SegNext,
arXiv 2404.00741); the sparse tokens of Segment Anything stay beside them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import LayerNorm2d
from .prompt_encoder import PromptEncoder


def disk_maps(points_xy: Tensor, chosen: Tensor, size: tuple[int, int], cell_px: float) -> Tensor:
    """Points (B, N, 2) in model pixels, ``chosen`` (B, N) bool -> (B, h, w), 1 at a chosen point.

    Falls off as a Gaussian of two cells.
    """
    h, w = size
    ys = (torch.arange(h, device=points_xy.device, dtype=points_xy.dtype) + 0.5) * cell_px
    xs = (torch.arange(w, device=points_xy.device, dtype=points_xy.dtype) + 0.5) * cell_px
    two_sigma_sq = 2 * (2 * cell_px) ** 2
    at = points_xy + 0.5
    along_x = torch.exp(-((xs - at[..., :1]) ** 2) / two_sigma_sq)
    along_y = torch.exp(-((ys - at[..., 1:]) ** 2) / two_sigma_sq)
    disks = along_y[..., :, None] * along_x[..., None, :]
    return (disks * chosen[..., None, None]).amax(dim=1)


def box_maps(boxes_xyxy: Tensor, size: tuple[int, int], cell_px: float) -> Tensor:
    """Boxes (B, 4) in model pixels -> (B, h, w), the part of each cell that the box covers."""
    spans = []
    for length, low, high in (
        (size[0], boxes_xyxy[:, 1], boxes_xyxy[:, 3]),
        (size[1], boxes_xyxy[:, 0], boxes_xyxy[:, 2]),
    ):
        edges = torch.arange(length, device=boxes_xyxy.device, dtype=boxes_xyxy.dtype) * cell_px
        covered = torch.minimum(edges + cell_px, high[:, None]) - torch.maximum(edges, low[:, None])
        spans.append((covered / cell_px).clamp(0, 1))
    return spans[0][:, :, None] * spans[1][:, None, :]


class FusionBlock(nn.Module):
    """Bottleneck residual block of B images; it starts as an identity.

    Before the transformer it mixes the drawn prompts with the image around them; after it, what
    neighbouring cells have made of the prompts.
    """

    def __init__(self, dim: int, hidden: int = 48) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(dim, hidden, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, 1, 1),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, 1, 1),
            LayerNorm2d(hidden),
            nn.GELU(),
        )
        self.expand = nn.Conv2d(hidden, dim, 1)
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        out: Tensor = x + self.expand(self.mix(F.gelu(self.reduce(x))))
        return out


class DensePromptEncoder(PromptEncoder):
    """`PromptEncoder` whose dense output also carries clicks and boxes, drawn as maps.

    The maps are: previous logits (squashed), foreground disks, background disks, box.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
    ) -> None:
        super().__init__(
            embed_dim, image_embedding_size, input_image_size, mask_in_chans, mask_maps=4
        )

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """As `PromptEncoder.forward`; the dense embedding is never the bare no-mask one."""
        count = self.batch_size(points, boxes, masks)
        sparse = self.embed_sparse(points, boxes, count)
        size = self.mask_input_size
        cell_px = self.input_image_size[0] / size[0]
        like = self.no_mask_embed.weight
        empty = like.new_zeros((count, *size))
        previous = empty if masks is None else torch.tanh(masks[:, 0].to(like.dtype) / 5)
        plus, minus, box = empty, empty, empty
        if points is not None:
            coords, labels = points[0].to(like.dtype), points[1]
            plus = disk_maps(coords, labels == 1, size, cell_px)
            minus = disk_maps(coords, labels == 0, size, cell_px)
        if boxes is not None:
            box = box_maps(boxes.reshape(-1, 4).to(like.dtype), size, cell_px)
        dense = self.mask_downscaling(torch.stack([previous, plus, minus, box], dim=1))
        if masks is None:
            dense = dense + like.reshape(1, -1, 1, 1)
        return sparse, dense
