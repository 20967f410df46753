"""Low-rank adapters (Hu et al. 2021, *LoRA*, arXiv 2106.09685) on an encoder's attention.

A linear layer keeps its weights W and learns a change of low rank beside them, W + s B A. So few
numbers are trained that an optimiser's state is small, and on saving they are added to W: a file
has the names and shapes of a model that never had an adapter.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention
from .sam import Sam
from .tiny_vit import WindowAttention

ADAPTED = ("qkv", "proj")


class LoraLinear(nn.Module):
    """``base``, frozen, plus ``scale`` times a map through ``rank`` channels, which starts at 0."""

    def __init__(
        self, base: nn.Linear, rank: int, scale: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = scale
        where = base.weight.device
        down = torch.empty(rank, base.in_features)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
        self.down = nn.Parameter(down.to(where))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=where))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        out: Tensor = self.base(x)
        return out + self.scale * F.linear(F.linear(x, self.down), self.up)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear layer that answers the same."""
        base = self.base
        with torch.device("meta"):
            plain = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
        change = self.scale * (self.up @ self.down)
        plain.weight = nn.Parameter(base.weight + change.to(base.weight), requires_grad=False)
        if base.bias is not None:
            plain.bias = nn.Parameter(base.bias.detach(), requires_grad=False)
        return plain


def add_lora(
    encoder: nn.Module, rank: int, scale: float = 1.0, generator: torch.Generator | None = None
) -> list[LoraLinear]:
    """Put adapters of ``rank`` on the qkv and proj layers of every attention; returns them.

    Raises:
        ValueError: an encoder without attention.
    """
    added = []
    for module in list(encoder.modules()):
        if isinstance(module, Attention | WindowAttention):
            for name in ADAPTED:
                layer = LoraLinear(getattr(module, name), rank, scale, generator)
                setattr(module, name, layer)
                added.append(layer)
    if not added:
        raise ValueError(
            f"Expected an encoder with attention to adapt, got {type(encoder).__name__}, which has "
            "none; train its decoder, or all of it."
        )
    return added


def without_lora(sam: Sam) -> Sam:
    """The model with its adapters added to the weights; it shares all other tensors with ``sam``.

    The same model if it has none.
    """
    if not any(_adapters(sam)):
        return sam
    shared: dict[int, object] = {id(t): t for t in (*sam.parameters(), *sam.buffers())}
    shared.update((id(layer), layer.merged()) for layer in _adapters(sam))
    return copy.deepcopy(sam, shared)


def _adapters(module: nn.Module) -> Iterator[LoraLinear]:
    return (m for m in module.modules() if isinstance(m, LoraLinear))
