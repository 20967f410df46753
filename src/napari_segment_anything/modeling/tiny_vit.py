"""TinyViT, the image encoder of MobileSAM.

A stage of convolutions, then three of attention in windows with a bias for each distance (Wu et al.
2022, *TinyViT*, arXiv 2207.10666). MobileSAM (Zhang et al. 2023, arXiv 2306.14289) keeps the
resolution before the last stage, so that the embedding has the size that the mask decoder knows.
Names are those of the published checkpoints.

Maps are (B, C, H, W) in channels-last memory: there the tokens (B, H, W, C) of the same map are a
view of it, and convolutions and linear layers follow each other without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .image_encoder import Progress
from .layers import in_parts, neck

EXPANSION = 4
CLASSES = 1000
STRIP_ROWS = 32
"""How much of a wide map a CPU works on at a time, so that it stays in its cache."""


class ConvNorm(nn.Module):
    """Convolution without bias and batch norm; one convolution while the statistics are fixed."""

    def __init__(
        self, in_chans: int, out_chans: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            in_chans, out_chans, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)."""
        if self.bn.training:
            return self.plain(x)
        weight, bias = self.folded()
        conv = self.c
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)

    def plain(self, x: Tensor) -> Tensor:
        """What `forward` answers, in two steps."""
        out: Tensor = self.bn(self.c(x))
        return out

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution that does the work of both.

        Folded anew for each call: that costs little beside the convolution, and what is not kept
        is never out of date.
        """
        mean: Tensor = self.bn.running_mean  # type: ignore[assignment]
        var: Tensor = self.bn.running_var  # type: ignore[assignment]
        scale = self.bn.weight * torch.rsqrt(var + self.bn.eps)
        return self.c.weight * scale[:, None, None, None], self.bn.bias - mean * scale


class PatchEmbed(nn.Module):
    """Image -> map at a quarter of its side, by two strided convolutions."""

    def __init__(self, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(in_chans, embed_dim // 2, kernel=3, stride=2),
            nn.GELU(),
            ConvNorm(embed_dim // 2, embed_dim, kernel=3, stride=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, embed_dim, H / 4, W / 4)."""
        out: Tensor = self.seq(x)
        return out


class MBConv(nn.Module):
    """Inverted residual: widen, convolve each channel, narrow (Sandler et al. 2018)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim * EXPANSION
        self.conv1 = ConvNorm(dim, hidden)
        self.conv2 = ConvNorm(hidden, hidden, kernel=3, groups=hidden)
        self.conv3 = ConvNorm(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if self.training or x.device.type != "cpu":
            return self.plain(x)
        height = x.shape[2]
        strips = []
        for top in range(0, height, STRIP_ROWS):
            end, above = min(top + STRIP_ROWS, height), max(top - 1, 0)
            # One row more on each side, for the neighbours of the outer rows.
            wide = self._widened(x[:, :, above : end + 1])[:, :, top - above : end - above]
            strips.append(F.gelu(x[:, :, top:end] + self.conv3(wide)))
        return torch.cat(strips, dim=2)

    def plain(self, x: Tensor) -> Tensor:
        """What `forward` answers, in one piece."""
        return F.gelu(x + self.conv3(self._widened(x)))

    def _widened(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv2(F.gelu(self.conv1(x))))


class PatchMerging(nn.Module):
    """Between two stages: another width, and a ``stride``-th of the side."""

    def __init__(self, dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, out_dim)
        self.conv2 = ConvNorm(out_dim, out_dim, kernel=3, stride=stride, groups=out_dim)
        self.conv3 = ConvNorm(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, out_dim, H / stride, W / stride)."""
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        out: Tensor = self.conv3(x)
        return out


def distance_index(window: int) -> Tensor:
    """Of each pair of a window's tokens, |dy| * window + |dx|: (window ** 2, window ** 2)."""
    at = torch.arange(window)
    apart = (at[:, None] - at[None, :]).abs()
    index = apart[:, None, :, None] * window + apart[None, :, None, :]
    return index.reshape(window * window, window * window)


class WindowAttention(nn.Module):
    """Self-attention in windows, with a learned bias for each distance of two of their tokens."""

    attention_bias_idxs: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window_size * window_size))
        index = distance_index(window_size)
        self.register_buffer("attention_bias_idxs", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape.

        Where windows reach beyond the map, zero padding takes part in the attention, as it did in
        training.
        """
        (b, h, w, c), side = x.shape, self.window_size
        x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
        rows, cols = x.shape[1] // side, x.shape[2] // side
        windows = x.view(b, rows, side, cols, side, c).transpose(2, 3).reshape(-1, side * side, c)
        # Query, key and value of a head lie beside each other, head after head.
        qkv = self.qkv(self.norm(windows)).unflatten(-1, (self.num_heads, 3, c // self.num_heads))
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each (windows, heads, tokens, C / heads)
        bias = self.attention_biases[:, self.attention_bias_idxs].to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None]).transpose(1, 2)
        out = out.reshape(b, rows, cols, side, side, c).transpose(2, 3).reshape(x.shape)
        mixed: Tensor = self.proj(out[:, :h, :w].contiguous())
        return mixed


class Mlp(nn.Module):
    """Layer norm and two linear layers around a GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, dim * EXPANSION)
        self.fc2 = nn.Linear(dim * EXPANSION, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        if x.device.type != "cpu":
            return self.plain(x)
        return in_parts(self.plain, x)

    def plain(self, x: Tensor) -> Tensor:
        """What `forward` answers, in one piece."""
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class TinyViTBlock(nn.Module):
    """Attention in windows, a convolution of each channel across their edges, and an MLP."""

    def __init__(self, dim: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, num_heads, window_size)
        self.local_conv = ConvNorm(dim, dim, kernel=3, groups=dim)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        tokens = x.permute(0, 2, 3, 1)
        x = self.local_conv((tokens + self.attn(tokens)).permute(0, 3, 1, 2))
        tokens = x.permute(0, 2, 3, 1)
        out: Tensor = tokens + self.mlp(tokens)
        return out.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, then the way to the next."""

    def __init__(self, blocks: Sequence[nn.Module], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor, after_block: Callable[[], None]) -> Tensor:
        """(B, C, H, W) -> the next stage's width and size, or its own if it is the last."""
        for block in self.blocks:
            x = block(x)
            after_block()
        out: Tensor = x if self.downsample is None else self.downsample(x)
        return out


class TinyViT(nn.Module):
    """Square image -> embedding at a sixteenth of its side.

    The sizes are those of four stages; the first has neither heads nor windows, and its numbers
    of them are not used.
    """

    def __init__(
        self,
        img_size: int = 1024,
        embed_dims: Sequence[int] = (64, 128, 160, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (2, 4, 5, 10),
        window_sizes: Sequence[int] = (7, 7, 14, 7),
        out_chans: int = 256,
    ) -> None:
        super().__init__()
        self.img_size = img_size
        self.total_blocks = sum(depths)
        self.patch_embed = PatchEmbed(3, embed_dims[0])
        self.layers = nn.ModuleList()
        last = len(depths) - 1
        for i, (dim, depth) in enumerate(zip(embed_dims, depths, strict=True)):
            blocks = [
                TinyViTBlock(dim, num_heads[i], window_sizes[i]) if i else MBConv(dim)
                for _ in range(depth)
            ]
            merge = None
            if i < last:
                merge = PatchMerging(dim, embed_dims[i + 1], stride=1 if i == last - 1 else 2)
            self.layers.append(Stage(blocks, merge))
        # The classifier of the pretraining: in every published file, and asked by nobody.
        self.norm_head = nn.LayerNorm(embed_dims[-1])
        self.head = nn.Linear(embed_dims[-1], CLASSES)
        self.neck = neck(embed_dims[-1], out_chans)

    def forward(self, x: Tensor, progress: Progress | None = None) -> Tensor:
        """(B, 3, img_size, img_size) normalised -> (B, out_chans, side / 16, side / 16).

        ``progress(done, total)`` is called after each block; an exception from it cancels.
        """
        done, total = 0, self.total_blocks + 1

        def count() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        for stage in self.layers:
            x = stage(x, count)
        out: Tensor = self.neck(x)
        count()
        return out.contiguous()
