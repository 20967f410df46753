"""Small models in files, small labelled images, and quick settings, for tests of whole runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tests.pictures import disks

from napari_segment_anything.io.labelled import LabelledImage
from napari_segment_anything.modeling.sizes import (
    ConvConfig,
    SamConfig,
    build_sam,
    small_vit_config,
    small_vit_t_config,
)
from napari_segment_anything.training.settings import FitSettings
from napari_segment_anything.zoo.checkpoint import write_checkpoint

CONV = SamConfig(
    ConvConfig(widths=(8, 8, 8, 8), depths=(0, 1, 0, 0), stem_chans=4, window_cells=8),
    prompt_embed_dim=16,
    decoder_heads=2,
    decoder_mlp_dim=16,
    mask_in_chans=8,
    iou_head_hidden_dim=8,
)
CONFIGS = {"conv": CONV, "vit": small_vit_config(64), "tiny_vit": small_vit_t_config(64)}
CARD = {"description": "random", "automask": {"points_per_side": 7}, "least_foreground": 0.2}


def random_file(folder: Path, kind: str) -> Path:
    """A checkpoint of random weights."""
    torch.manual_seed(3)
    path = folder / f"random_{kind}.safetensors"
    write_checkpoint(path, build_sam(CONFIGS[kind]), CONFIGS[kind], {"card": json.dumps(CARD)})
    return path


def labelled(count: int = 2, seed: int = 0) -> list[LabelledImage]:
    """Images (48, 64) of three disks each, 16 bit, with labels that leave numbers out."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        spots = [(12, x, int(rng.integers(5, 8))) for x in (14, 34, 54)]
        spots[1] = (34, 30, 9)
        pixels, labels = disks((48, 64), spots, seed=seed + i)
        images.append(LabelledImage(f"disks {i}", pixels.astype(np.uint16) * 9, labels * 5))
    return images


def quick(**changes) -> FitSettings:
    """Settings of a short run with small crops on the CPU."""
    chosen = {
        "steps": 6,
        "crop_px": 64,
        "objects_per_crop": 2,
        "corrections": 1,
        "still_rounds": 1,
        "validate_every": 2,
        "cached_crops": 2,
        "learning_rate": 1e-2,
        "device": "cpu",
        "precision": "fp32",
        "lora_rank": 2,
    }
    return FitSettings(**{**chosen, **changes})
