"""Self-attention of the ViT encoder: windows, and decomposed relative position (Li et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def window_partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """(B, H, W, C) -> windows (B * n, window, window, C), and the padded (H, W).

    Zero padding at right and bottom takes part in the attention, as it did in training.
    """
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    padded = (x.shape[1], x.shape[2])
    x = x.view(b, padded[0] // window, window, padded[1] // window, window, c)
    return x.transpose(2, 3).reshape(-1, window, window, c), padded


def window_unpartition(
    windows: Tensor, window: int, padded_hw: tuple[int, int], size_hw: tuple[int, int]
) -> Tensor:
    """Inverse of `window_partition`: (B, H, W, C) without its padding."""
    rows, cols = padded_hw[0] // window, padded_hw[1] // window
    x = windows.view(-1, rows, cols, window, window, windows.shape[-1])
    x = x.transpose(2, 3).reshape(-1, *padded_hw, windows.shape[-1])
    return x[:, : size_hw[0], : size_hw[1]]


def relative_table(q_size: int, k_size: int, table: Tensor) -> Tensor:
    """(L, C) learned offsets -> (q_size, k_size, C), the row for each pair of coordinates.

    A table of another length than 2 max(q, k) - 1 is interpolated to it.
    """
    length = 2 * max(q_size, k_size) - 1
    if table.shape[0] != length:
        table = F.interpolate(table.T[None], size=length, mode="linear")[0].T
    q_at = torch.arange(q_size, device=table.device)[:, None] * max(k_size / q_size, 1.0)
    k_at = torch.arange(k_size, device=table.device)[None, :] * max(q_size / k_size, 1.0)
    offset = (q_at - k_at) + (k_size - 1) * max(q_size / k_size, 1.0)
    return table[offset.long()]


def relative_bias(q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, size: tuple[int, int]) -> Tensor:
    """Bias of every query on every key: (B, h w, C) unscaled queries -> (B, h w, h w).

    The bias is a row part and a column part, each a product of the query with a learned offset.
    """
    h, w = size
    grid = q.view(-1, h, w, q.shape[-1])
    rows = torch.einsum("bhwc,hkc->bhwk", grid, relative_table(h, h, rel_pos_h))
    cols = torch.einsum("bhwc,wkc->bhwk", grid, relative_table(w, w, rel_pos_w))
    bias = rows[..., :, None] + cols[..., None, :]
    return bias.reshape(-1, h * w, h * w)


class Attention(nn.Module):
    """Multi-head self-attention over a grid of tokens."""

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        use_rel_pos: bool = False,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            if input_size is None:
                raise ValueError("Expected input_size (h, w) for relative positions, got None.")
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * input_size[0] - 1, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * input_size[1] - 1, head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> the same shape."""
        b, h, w, c = x.shape
        qkv = self.qkv(x).view(b, h * w, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, h w, C / heads)
        bias = None
        if self.use_rel_pos:
            bias = relative_bias(q.flatten(0, 1), self.rel_pos_h, self.rel_pos_w, (h, w))
            bias = bias.view(b, self.num_heads, h * w, h * w)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        mixed: Tensor = self.proj(out.transpose(1, 2).reshape(b, h, w, c))
        return mixed
