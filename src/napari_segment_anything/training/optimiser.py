"""AdamW's parameter groups, and the learning rate over a run (Kirillov et al. 2023, A.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from ..modeling.image_encoder import ImageEncoderViT
from ..modeling.tiny_vit import TinyViT

BETAS = (0.9, 0.999)
STEP_DECAY_AT = (60_000 / 90_000, 86_666 / 90_000)
"""A.2, "Training settings": after these parts of the run the rate falls to a tenth."""

Named = Iterable[tuple[str, nn.Parameter]]


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to biases, norms, embeddings."""
    return parameter.ndim >= 2 and "embed" not in name and "token" not in name


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """All parameters in two groups: those that decay and those that do not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        (decayed if decays(name, p) else free).append(p)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def layered_groups(
    named: Named, weight_decay: float, part_of: Callable[[str], float] = lambda name: 1.0
) -> list[dict[str, Any]]:
    """Groups of equal decay and equal ``rate_part``, by which the learning rate is multiplied."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, p in named:
        key = (weight_decay if decays(name, p) else 0.0, part_of(name))
        groups.setdefault(key, []).append(p)
    return [
        {"params": params, "weight_decay": decay, "rate_part": part}
        for (decay, part), params in groups.items()
    ]


def layer_parts(encoder: nn.Module, decay: float) -> Callable[[str], float]:
    """Parts of the learning rate by parameter name: ``decay`` to the power of the layers above.

    A.2: layer-wise decay of 0.8 (Clark et al. 2020, arXiv 2003.10555). As in ViTDet the embedding
    of patches is the lowest layer, then comes each block; what follows the blocks learns at the
    full rate. So does all of an encoder that is no transformer.
    """
    layers = _layers(encoder)
    above_all = max(layers.values(), default=0) + 1

    def part_of(name: str) -> float:
        for prefix, layer in layers.items():
            if name.startswith(f"image_encoder.{prefix}"):
                return float(decay ** (above_all - layer))
        return 1.0

    return part_of


def _layers(encoder: nn.Module) -> dict[str, int]:
    """Number of the layer of each part of a transformer, by the beginning of its names."""
    if isinstance(encoder, ImageEncoderViT):
        blocks = {f"blocks.{i}.": i + 1 for i in range(len(encoder.blocks))}
        return {"patch_embed.": 0, "pos_embed": 0, **blocks}
    if not isinstance(encoder, TinyViT):
        return {}
    layers, count = {"patch_embed.": 0}, 0
    for i, stage in enumerate(encoder.layers):
        for j in range(len(stage.blocks)):  # type: ignore[arg-type]
            count += 1
            layers[f"layers.{i}.blocks.{j}."] = count
        layers[f"layers.{i}.downsample."] = count
    return layers


def cosine_part(step: int, steps: int, warmup_steps: int, final: float) -> float:
    """Part of the learning rate at ``step``: linear warm-up, then half a cosine to ``final``."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1, done)))


def stepped_part(step: int, steps: int, warmup_steps: int) -> float:
    """Part of the learning rate at ``step``: linear warm-up, then a tenth at each of two steps."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return float(0.1 ** sum(step >= part * steps for part in STEP_DECAY_AT))
