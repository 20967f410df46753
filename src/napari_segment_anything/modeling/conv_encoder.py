"""Fully convolutional image encoder of the built-in `nano` model.

Dense 3 x 3 convolutions keep a CPU's matrix units busy where depthwise ones leave them idle,
and having no positional table it encodes a field of any size in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Progress = Callable[[int, int], None]


class ConvNorm(nn.Sequential):
    """3 x 3 convolution, batch norm, ReLU."""

    def __init__(self, in_chans: int, out_chans: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_chans, out_chans, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_chans),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around an identity; the last norm starts at zero."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.first = ConvNorm(chans, chans)
        self.second = nn.Conv2d(chans, chans, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(chans)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return F.relu(x + self.norm(self.second(self.first(x))))


class DenseHead(nn.Module):
    """Per-pixel maps read off the embedding: foreground, contact, centre (logits).

    Trained beside the prompts because every pixel teaches the encoder, where a prompt
    teaches one object; see ``training.losses.dense_targets`` for what the maps mean.
    """

    maps = 3

    def __init__(self, in_chans: int, hidden: int = 64) -> None:
        super().__init__()
        self.mix = ConvNorm(in_chans, hidden)
        self.read = nn.Conv2d(hidden, self.maps * 16, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) embedding -> (B, 3, 4h, 4w) logits, the size of low-res masks."""
        return F.pixel_shuffle(self.read(self.mix(features)), 4)


class ConvEncoder(nn.Module):
    """Stride-2 stages 4, 8, 16, 32 joined by a top-down pyramid into one stride-8 embedding.

    ``widths`` and ``depths`` are the channels and residual blocks of the four stages.
    """

    stride = 8
    canvas_multiple = 32

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        stem_chans: int,
        out_chans: int,
    ) -> None:
        super().__init__()
        self.out_chans = out_chans
        self.stem = ConvNorm(3, stem_chans, stride=2)
        stages = []
        before = stem_chans
        for width, depth in zip(widths, depths, strict=True):
            blocks = [ResidualBlock(width) for _ in range(depth)]
            stages.append(nn.Sequential(ConvNorm(before, width, stride=2), *blocks))
            before = width
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(nn.Conv2d(w, out_chans, 1) for w in widths[1:])
        self.detail = nn.Conv2d(widths[0], out_chans, 2, 2)
        self.neck = nn.Sequential(
            nn.Conv2d(out_chans, out_chans, 3, 1, 1, bias=False), nn.BatchNorm2d(out_chans)
        )
        self.dense_head = DenseHead(out_chans)

    def forward(self, x: Tensor, progress: Progress | None = None) -> Tensor:
        """(B, 3, H, W) normalised image, sides multiples of 32 -> (B, C, H / 8, W / 8).

        ``progress(done, total)`` is called after each stage.
        """
        total = len(self.stages) + 1
        x = self.stem(x)
        levels = []
        for done, stage in enumerate(self.stages, start=1):
            x = stage(x)
            levels.append(x)
            if progress is not None:
                progress(done, total)
        pyramid = self.laterals[-1](levels[-1])
        for lateral, level in zip(self.laterals[-2::-1], levels[-2:0:-1], strict=True):
            pyramid = lateral(level) + F.interpolate(pyramid, scale_factor=2.0, mode="nearest")
        out: Tensor = self.neck(F.relu(pyramid + self.detail(levels[0])))
        if progress is not None:
            progress(total, total)
        return out

    def dense_maps(self, features: Tensor) -> Tensor:
        """(B, C, h, w) embedding -> (B, 3, 4h, 4w) probabilities: foreground, contact, centre."""
        return torch.sigmoid(self.dense_head(features))
