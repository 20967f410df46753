"""Points, boxes and masks -> the decoder's sparse tokens and dense map (Kirillov et al., A.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import LayerNorm2d

Points = tuple[Tensor, Tensor]
BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = range(4)
PADDING = -1


class PositionEmbeddingRandom(nn.Module):
    """Random Fourier code of a place in the unit square (Tancik et al. 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int = 64, scale: float | None = None) -> None:
        super().__init__()
        frequencies = torch.randn((2, num_pos_feats))
        if scale is not None and scale > 0:
            frequencies = scale * frequencies
        self.register_buffer("positional_encoding_gaussian_matrix", frequencies)

    def encode(self, unit_xy: Tensor) -> Tensor:
        """(..., 2) in 0..1, x then y -> (..., 2 * num_pos_feats)."""
        centred = (2 * unit_xy - 1).to(self.positional_encoding_gaussian_matrix.dtype)
        angle = 2 * math.pi * (centred @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def forward(self, size: tuple[int, int]) -> Tensor:
        """Codes of the cell centres of an (h, w) grid: (C, h, w)."""
        h, w = size
        like = self.positional_encoding_gaussian_matrix
        y = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) / h
        x = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) / w
        grid = torch.stack([x.expand(h, w), y[:, None].expand(h, w)], dim=-1)
        return self.encode(grid).permute(2, 0, 1)

    def forward_with_coords(self, coords: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Codes of points (B, N, 2) in model pixels of an image (h, w): (B, N, C)."""
        return self.encode((coords / coords.new_tensor(image_size[::-1])).to(torch.float32))


class PromptEncoder(nn.Module):
    """Sparse tokens for points and boxes, a dense embedding for a mask.

    Args:
        embed_dim: channels C of every embedding.
        image_embedding_size: (h, w) of the image embedding.
        input_image_size: (H, W) model pixels that it stands for.
        mask_in_chans: hidden channels for mask prompts, which are four times the embedding's size.
    """

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
        activation: type[nn.Module] = nn.GELU,
        mask_maps: int = 1,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.input_image_size = input_image_size
        self.image_embedding_size = image_embedding_size
        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, embed_dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, embed_dim)
        self.mask_input_size = (4 * image_embedding_size[0], 4 * image_embedding_size[1])
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(mask_maps, mask_in_chans // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans // 4),
            activation(),
            nn.Conv2d(mask_in_chans // 4, mask_in_chans, kernel_size=2, stride=2),
            LayerNorm2d(mask_in_chans),
            activation(),
            nn.Conv2d(mask_in_chans, embed_dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, embed_dim)

    def get_dense_pe(self) -> Tensor:
        """Positional code of the image embedding, (1, C, h, w)."""
        code: Tensor = self.pe_layer(self.image_embedding_size)
        return code[None]

    def _learned(self, kind: int) -> Tensor:
        table = self.point_embeddings[kind]
        weight: Tensor = table.weight  # type: ignore[assignment]
        return weight

    def embed_points(self, points_xy: Tensor, labels: Tensor, pad: bool) -> Tensor:
        """(B, N, 2) model pixels and (B, N) labels -> (B, N, C), or N + 1 with ``pad``.

        Without a box a padding point takes the place of its corners; padding has no position.
        """
        centres = points_xy + 0.5
        if pad:
            batch = len(centres)
            centres = torch.cat([centres, centres.new_zeros((batch, 1, 2))], dim=1)
            labels = torch.cat([labels, labels.new_full((batch, 1), PADDING)], dim=1)
        code = self.pe_layer.forward_with_coords(centres, self.input_image_size)
        kind = labels[..., None]
        code = torch.where(kind == PADDING, self.not_a_point_embed.weight.to(code.dtype), code)
        code = torch.where(kind == BACKGROUND, code + self._learned(BACKGROUND), code)
        return torch.where(kind == FOREGROUND, code + self._learned(FOREGROUND), code)

    def embed_boxes(self, boxes_xyxy: Tensor) -> Tensor:
        """(B, 4) model pixels -> two corner tokens each, (B, 2, C)."""
        corners = (boxes_xyxy + 0.5).reshape(-1, 2, 2)
        code = self.pe_layer.forward_with_coords(corners, self.input_image_size)
        return code + torch.cat([self._learned(TOP_LEFT), self._learned(BOTTOM_RIGHT)])

    def embed_sparse(self, points: Points | None, boxes: Tensor | None, batch: int) -> Tensor:
        """Tokens of all points and boxes, (B, N, C); N is 0 if there are none."""
        tokens = []
        if points is not None:
            tokens.append(self.embed_points(points[0], points[1], pad=boxes is None))
        if boxes is not None:
            tokens.append(self.embed_boxes(boxes))
        if not tokens:
            return self.no_mask_embed.weight.new_zeros((batch, 0, self.embed_dim))
        return torch.cat(tokens, dim=1)

    @staticmethod
    def batch_size(points: Points | None, boxes: Tensor | None, masks: Tensor | None) -> int:
        """Number of prompts, told by whichever kind was given; 1 if none was."""
        for given in (None if points is None else points[0], boxes, masks):
            if given is not None:
                return int(given.shape[0])
        return 1

    def forward(
        self, points: Points | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embed B prompts.

        Args:
            points: (B, N, 2) model pixels, (x, y), and (B, N) labels: 1 foreground, 0 background,
                -1 padding.
            boxes: (B, 4) model pixels.
            masks: (B, 1, 4h, 4w) logits.

        Returns:
            Sparse tokens (B, N', C) and the dense embedding (B, C, h, w).
        """
        batch = self.batch_size(points, boxes, masks)
        sparse = self.embed_sparse(points, boxes, batch)
        if masks is not None:
            return sparse, self.mask_downscaling(masks)
        nothing = self.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return sparse, nothing.expand(batch, -1, *self.image_embedding_size)
