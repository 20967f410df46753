"""Pictures with known objects, and models small enough for tests."""

from __future__ import annotations

import numpy as np
import torch

from napari_segment_anything.inference.card import ModelCard
from napari_segment_anything.inference.model import Model
from napari_segment_anything.modeling.sizes import SamConfig, build_sam, small_vit_config


def disks(size_hw: tuple[int, int], spots: list[tuple[int, int, int]], seed: int = 0):
    """Bright disks (y, x, radius) on dark ground with noise: (H, W) uint8, and their labels."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    labels = np.zeros(size_hw, np.int32)
    for label, (cy, cx, r) in enumerate(spots, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = label
    noise = np.random.default_rng(seed).normal(0, 4, size_hw)
    image = np.clip(np.where(labels > 0, 160, 40) + noise, 0, 255)
    return image.astype(np.uint8), labels


def random_model(config: SamConfig | None = None, seed: int = 0, **card) -> Model:
    """A model with random weights; a tiny ViT unless ``config`` says otherwise."""
    torch.manual_seed(seed)
    sam = build_sam(config or small_vit_config()).eval().requires_grad_(False)
    return Model(sam, "random", torch.device("cpu"), "fp32", f"random {seed}", ModelCard(**card))


def iou(a, b) -> float:
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    return float((a & b).sum() / max(1, (a | b).sum()))
