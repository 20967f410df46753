"""Decoder of automatic segmentation: an image embedding -> three maps of the whole field.

A U-Net's upward half on a ViT's embedding (Hatamizadeh et al. 2022, UNETR), its skips computed
from the embedding alone, as micro-sam trains it (Archit et al. 2025). Module names are those of
torch-em's ``UNETR2D`` beside its encoder, so that a micro-sam ``decoder_state`` loads strictly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Progress = Callable[[int, int], None]

MAPS = 3
"""Foreground, distance to the object's centre, distance to its boundary."""

STRIP_ROWS = 32
NORM_EPS = 1e-5


class Doubled(nn.Module):
    """Both sides times two, bilinear, and another number of channels."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', 2h, 2w)."""
        # Mixing channels and interpolating commute; this way round costs a quarter.
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear", align_corners=False)


class DoubledByStride(nn.Module):
    """Both sides times two by a transposed convolution."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.block = nn.ConvTranspose2d(in_chans, out_chans, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', 2h, 2w)."""
        out: Tensor = self.block(x)
        return out


class SmoothConv(nn.Module):
    """3 x 3 convolution that keeps the size."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(chans, chans, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        out: Tensor = self.block(x)
        return out


class SkipBlock(nn.Module):
    """Doubled, smoothed, batch norm, ReLU: one level of the skips."""

    def __init__(self, in_chans: int, out_chans: int, transposed: bool) -> None:
        super().__init__()
        self.block = nn.Sequential(
            doubling(in_chans, out_chans, transposed),
            SmoothConv(out_chans),
            nn.BatchNorm2d(out_chans),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', 2h, 2w)."""
        out: Tensor = self.block(x)
        return out


class ConvBlock(nn.Module):
    """Twice: instance norm without parameters, 3 x 3 convolution, ReLU."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(in_chans),
            nn.Conv2d(in_chans, out_chans, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.InstanceNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, *parts: Tensor) -> Tensor:
        """(B, C1, h, w), (B, C2, h, w), ..., joined along the channels -> (B, C', h, w)."""
        if torch.is_grad_enabled():
            out: Tensor = self.block(torch.cat(parts, dim=1))
            return out
        first, second = (layer for layer in self.block if isinstance(layer, nn.Conv2d))
        return convolved_in_strips([convolved_in_strips(parts, first)], second)


def convolved_in_strips(parts: Sequence[Tensor], conv: nn.Conv2d) -> Tensor:
    """Parts joined along the channels -> instance norm, 3 x 3 convolution, ReLU.

    A few rows at a time: nothing of full size is made but the result. The finest level's join and
    its norm alone would take 1 GiB.
    """
    statistics = [torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True) for x in parts]
    scales = [(variance + NORM_EPS).rsqrt() for variance, _ in statistics]
    batch, _, height, width = parts[0].shape
    out = parts[0].new_empty(batch, conv.out_channels, height, width)
    for top in range(0, height, STRIP_ROWS):
        end = min(height, top + STRIP_ROWS)
        low, high = max(0, top - 1), min(height, end + 1)
        strips = [
            ((x[:, :, low:high] - mean) * scale).to(out.dtype)
            for x, (_, mean), scale in zip(parts, statistics, scales, strict=True)
        ]
        # Rows beyond the strip are 0 for this convolution; what they spoil is cut off.
        y = conv(torch.cat(strips, dim=1))
        out[:, :, top:end] = F.relu(y[:, :, top - low : top - low + end - top])
    return out


class UpwardPath(nn.Module):
    """Levels of a U-Net's upward half: doubled, joined with the level's skip, convolved."""

    def __init__(self, chans: tuple[int, ...], transposed: bool) -> None:
        super().__init__()
        steps = list(pairwise(chans))
        self.blocks = nn.ModuleList(ConvBlock(before, after) for before, after in steps)
        self.samplers = nn.ModuleList(doubling(*step, transposed) for step in steps)

    def levels(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Each level's doubling and its convolutions, coarsest first."""
        return zip(self.samplers, self.blocks, strict=True)


class UnetrDecoder(nn.Module):
    """(B, C, h, w) embedding -> (B, 3, 16h, 16w) maps from 0 to 1.

    The maps are foreground, distance to the object's centre, and distance to its boundary, which is
    1 there and falls to 0 at the innermost pixel; both distances are parts of the object's largest,
    and 1 beyond objects (`training.distance_targets`).

    ``chans`` is the width of the finest level. ``transposed``: sides are doubled by transposed
    convolutions, as in some published models, instead of by interpolation.
    """

    def __init__(self, in_chans: int = 256, chans: int = 64, *, transposed: bool = False) -> None:
        super().__init__()
        self.in_chans = in_chans
        widths = (8 * chans, 4 * chans, 2 * chans, chans)
        self.base = ConvBlock(in_chans, widths[0])
        self.decoder = UpwardPath(widths, transposed)
        self.deconv1 = SkipBlock(in_chans, widths[0], transposed)
        self.deconv2 = SkipBlock(widths[0], widths[1], transposed)
        self.deconv3 = SkipBlock(widths[1], widths[2], transposed)
        self.deconv4 = SkipBlock(widths[2], widths[3], transposed)
        self.deconv_out = doubling(chans, chans, transposed)
        self.decoder_head = ConvBlock(2 * chans, chans)
        self.out_conv = nn.Conv2d(chans, MAPS, 1)

    @classmethod
    def fitting(cls, state: Mapping[str, Tensor]) -> UnetrDecoder:
        """A decoder of the sizes and the kind of doubling that a state dict was made with.

        Raises:
            ValueError: the state dict is no such decoder's.
        """
        try:
            in_chans, chans = (
                state["base.block.1.weight"].shape[1],
                state["out_conv.weight"].shape[1],
            )
        except (KeyError, IndexError) as error:
            raise ValueError(
                "expected the weights of an automatic-segmentation decoder with "
                f"base.block.1.weight and out_conv.weight, found {len(state)} tensors such as "
                f"{sorted(state)[:3]}."
            ) from error
        transposed = any(k.startswith("decoder.samplers") and ".block." in k for k in state)
        return cls(in_chans, chans, transposed=transposed)

    def forward(self, features: Tensor, progress: Progress | None = None) -> Tensor:
        """The maps; ``progress(done, total)`` is called after each level."""
        levels = [self.deconv1, self.deconv2, self.deconv3, self.deconv4]
        total = 2 * len(levels) + 1
        skips = [features]
        for level in levels:
            skips.append(level(skips[-1]))
            _tell(progress, len(skips) - 1, total)
        skips = skips[:0:-1]  # coarsest last: each is let go once it has been joined
        x = self.base(features)
        for double, convolve in self.decoder.levels():
            _tell(progress, total - len(skips), total)
            x = double(x)
            x = convolve(x, middle_channels(skips.pop(), x.shape[1]))
        _tell(progress, total - len(skips), total)
        x = self.decoder_head(self.deconv_out(x), skips.pop())
        maps = torch.sigmoid(self.out_conv(x).float())
        _tell(progress, total, total)
        return maps


def doubling(in_chans: int, out_chans: int, transposed: bool) -> nn.Module:
    """A layer that doubles both sides, of the wanted kind."""
    return (DoubledByStride if transposed else Doubled)(in_chans, out_chans)


def middle_channels(x: Tensor, count: int) -> Tensor:
    """The ``count`` channels in the middle; a skip is twice as wide as what it is joined with.

    The outer ones serve the next finer skip only. So models have been trained: the reference cuts
    a skip down to the size of what it joins along the channels, too.
    """
    return x.narrow(1, (x.shape[1] - count) // 2, count)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
