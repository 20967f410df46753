"""Reference and ours, with the same random weights; tables that start at zero are drawn, too."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch

from . import torchvision_stand_in

torchvision_stand_in.install()

import segment_anything as reference  # noqa: E402
from segment_anything import modeling as reference_modeling  # noqa: E402

from napari_segment_anything import sam as ours  # noqa: E402
from napari_segment_anything.modeling.sizes import (  # noqa: E402
    SamConfig,
    VitConfig,
    build_sam,
    small_vit_config,
)


class Pair(NamedTuple):
    reference: torch.nn.Module
    ours: torch.nn.Module


def randomised(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            torch.nn.init.normal_(parameter, std=0.1)
        if "mask_decoder" in name and parameter.ndim >= 2:
            parameter.data *= 2.5  # so that masks differ from prompt to prompt
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def vit_b() -> Pair:
    torch.manual_seed(1)
    theirs = randomised(reference.sam_model_registry["vit_b"](), 2)
    mine = ours.sam_model_registry["vit_b"]()
    mine.load_state_dict(theirs.state_dict(), strict=True)
    return Pair(theirs, mine.requires_grad_(False))


def reference_of(config: SamConfig) -> torch.nn.Module:
    size = config.encoder
    assert isinstance(size, VitConfig)
    dim, side = config.prompt_embed_dim, size.img_size // size.patch_size
    return reference_modeling.Sam(
        image_encoder=reference_modeling.ImageEncoderViT(
            depth=size.depth,
            embed_dim=size.embed_dim,
            img_size=size.img_size,
            mlp_ratio=4,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=size.num_heads,
            patch_size=size.patch_size,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=size.global_attn_indexes,
            window_size=size.window_size,
            out_chans=dim,
        ),
        prompt_encoder=reference_modeling.PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(side, side),
            input_image_size=(size.img_size, size.img_size),
            mask_in_chans=config.mask_in_chans,
        ),
        mask_decoder=reference_modeling.MaskDecoder(
            transformer_dim=dim,
            transformer=reference_modeling.TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=dim,
                mlp_dim=config.decoder_mlp_dim,
                num_heads=config.decoder_heads,
            ),
            iou_head_hidden_dim=config.iou_head_hidden_dim,
        ),
        pixel_mean=list(config.pixel_mean),
        pixel_std=list(config.pixel_std),
    )


@pytest.fixture(scope="session")
def tiny() -> Pair:
    config = small_vit_config()
    torch.manual_seed(3)
    theirs = randomised(reference_of(config), 4)
    mine = build_sam(config).eval().requires_grad_(False)
    mine.load_state_dict(theirs.state_dict(), strict=True)
    return Pair(theirs, mine)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs of colour under noise, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = rng.normal(90, 12, (height, width, 3))
    for _ in range(25):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.02, 0.12) * width
        image[(y - cy) ** 2 + (x - cx) ** 2 < r * r] += rng.normal(0, 60, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def relative_difference(theirs, mine) -> float:
    """Largest difference, as a part of the reference's largest value."""
    theirs, mine = (torch.as_tensor(np.asarray(a)).double() for a in (theirs, mine))
    assert theirs.shape == mine.shape
    return float((theirs - mine).abs().max() / theirs.abs().max())
