"""Small layers that several networks share; names are those of the published checkpoints."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS_AT_ONCE = 1024
"""Tokens that go through an MLP together without gradients: its hidden layer is the widest there
is, and stays in the cache."""


def in_parts(work: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``work`` on tokens (..., C), each for itself, `TOKENS_AT_ONCE` of them at a time."""
    parts: tuple[Tensor, ...] = x.flatten(0, -2).split(TOKENS_AT_ONCE)
    return torch.cat([work(part) for part in parts]).view(x.shape)


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """Leave a residual branch (B, ...) out for some items, at ``rate``; the others make up for it.

    Stochastic depth, Huang et al. 2016 (arXiv 1603.09382).
    """
    if rate == 0:
        return branch
    kept = torch.rand(len(branch), *[1] * (branch.ndim - 1), device=branch.device) >= rate
    return branch * (kept / (1 - rate)).to(branch.dtype)


def neck(in_chans: int, out_chans: int) -> nn.Sequential:
    """The end of every square encoder: to the width of the mask decoder."""
    return nn.Sequential(
        nn.Conv2d(in_chans, out_chans, kernel_size=1, bias=False),
        LayerNorm2d(out_chans),
        nn.Conv2d(out_chans, out_chans, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_chans),
    )


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, H, W), at each pixel."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        # Channels last is how the fused layer norm wants them, and how convolutions run well.
        last = F.layer_norm(
            x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps
        )
        return last.permute(0, 3, 1, 2)


class MLPBlock(nn.Module):
    """Two linear layers around an activation."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        if torch.is_grad_enabled():
            return self._run(x)
        return in_parts(self._run, x)

    def _run(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(self.act(self.lin1(x)))
        return out


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__()
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.sigmoid_output = sigmoid_output

    def forward(self, x: Tensor) -> Tensor:
        """(..., input_dim) -> (..., output_dim)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        x = self.layers[-1](x)
        return torch.sigmoid(x) if self.sigmoid_output else x
