"""Self-attention of the ViT encoder: windows, and decomposed relative position (Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CACHE_BYTES = 4 << 20
"""Scores that a CPU keeps near its cores: memory moves slower than it multiplies."""

DEVICE_BYTES = 256 << 20
"""Scores held at once on an accelerator."""


def to_windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """(B, H, W, parts, heads, C) -> (parts, B * windows * heads, window tokens, C).

    H and W are multiples of the window's sides; one window may be the whole grid.
    """
    b, height, width, parts, heads, c = x.shape
    h, w = window
    x = x.view(b, height // h, h, width // w, w, parts, heads, c)
    return x.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(parts, -1, h * w, c)


def from_windows(x: Tensor, window: tuple[int, int], padded_bhw: tuple[int, int, int]) -> Tensor:
    """Inverse of `to_windows` for one part: (B * windows * heads, N, C) -> (B, H, W, heads, C)."""
    (h, w), (b, height, width) = window, padded_bhw
    x = x.view(b, height // h, width // w, -1, h, w, x.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, height, width, -1, x.shape[-1])


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


def relative_terms(
    q: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Bias of every query on every row and on every column of keys.

    (B, h w, C) unscaled queries -> (B, h w, h) and (B, h w, w). The bias on a key is the sum of its
    row's and its column's, each a product of the query with a learned offset.
    """
    h, w = size
    grid = q.view(-1, h, w, q.shape[-1])
    rows = torch.einsum("bhwc,hkc->bhwk", grid, relative_table(h, h, rel_pos_h))
    cols = torch.einsum("bhwc,wkc->bhwk", grid, relative_table(w, w, rel_pos_w))
    return rows.flatten(1, 2), cols.flatten(1, 2)


def relative_bias(by_row: Tensor, by_col: Tensor) -> Tensor:
    """Terms (..., N, h) and (..., N, w) -> bias on every key, (..., N, h w)."""
    return (by_row[..., :, None] + by_col[..., None, :]).flatten(-2)


def attend(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_col: Tensor) -> Tensor:
    """Attention with relative position: q, k, v (B, N, C), terms as of `relative_terms`.

    The plain way, whose bias of (B, N, N) is held whole; `attend_in_parts` gives the same.
    """
    return F.scaled_dot_product_attention(q, k, v, attn_mask=relative_bias(by_row, by_col))


def attend_in_parts(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_col: Tensor) -> Tensor:
    """`attend`, a few queries at a time, so that scores and bias stay in the cache; no gradients.

    On a CPU in fp32 the product is added to the bias where that lies. Half precision keeps its
    scores in fp32 inside the fused kernel, whose bias is made part by part.
    """
    out = torch.empty_like(q)
    in_place = q.device.type == "cpu" and q.dtype == torch.float32
    budget = DEVICE_BYTES
    if q.device.type == "cpu":  # the fused kernel works in larger blocks from 768 queries on
        budget = CACHE_BYTES if in_place else 2 * CACHE_BYTES
    for items, rows in _parts(q.shape[0], q.shape[1], k.shape[1] * q.element_size(), budget):
        asking, bias = q[items, rows], relative_bias(by_row[items, rows], by_col[items, rows])
        if in_place:
            scores = bias.baddbmm_(asking, k[items].mT, alpha=q.shape[-1] ** -0.5)
            torch.softmax(scores, dim=-1, out=scores)
            torch.bmm(scores, v[items], out=out[items, rows])
        else:
            out[items, rows] = F.scaled_dot_product_attention(
                asking[None], k[None, items], v[None, items], attn_mask=bias[None]
            )[0]
    return out


def _parts(items: int, rows: int, row_bytes: int, budget: int) -> Iterator[tuple[slice, slice]]:
    """Slices of items and of their rows that need no more than ``budget`` bytes each.

    Several whole items, or some rows of one.
    """
    at_once = max(1, budget // row_bytes)
    if at_once >= rows:
        step = at_once // rows
        for start in range(0, items, step):
            yield slice(start, start + step), slice(None)
        return
    for item in range(items):
        for start in range(0, rows, at_once):
            yield slice(item, item + 1), slice(start, start + at_once)


class Attention(nn.Module):
    """Multi-head self-attention over a grid of tokens, in windows or over all of it."""

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

    def forward(self, x: Tensor, window_size: int = 0) -> Tensor:
        """(B, h, w, C) -> the same shape; ``window_size`` 0 attends to the whole grid.

        Where windows reach beyond the grid, zero padding takes part in the attention, as it did in
        training.
        """
        b, h, w, c = x.shape
        window = (window_size, window_size) if window_size else (h, w)
        x = F.pad(x, (0, 0, 0, -w % window[1], 0, -h % window[0]))
        padded = (b, x.shape[1], x.shape[2])
        heads = self.num_heads
        q, k, v = to_windows(self.qkv(x).view(*padded, 3, heads, c // heads), window)
        mixed = from_windows(self._attended(q, k, v, window), window, padded)
        # A cropped view would go through the slower batched product.
        out: Tensor = self.proj(mixed[:, :h, :w].flatten(3).contiguous())
        return out

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, window: tuple[int, int]) -> Tensor:
        if not self.use_rel_pos:
            return F.scaled_dot_product_attention(q, k, v)
        by_row, by_col = relative_terms(q, self.rel_pos_h, self.rel_pos_w, window)
        one_by_one = attend if torch.is_grad_enabled() else attend_in_parts
        return one_by_one(q, k, v, by_row, by_col)
