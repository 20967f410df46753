"""Which parameter learns how fast, and when."""

from __future__ import annotations

import pytest
import torch

from napari_segment_anything.modeling.sizes import (
    NANO,
    VIT_B,
    build_sam,
    small_vit_t_config,
    without_init,
)
from napari_segment_anything.training.optimiser import (
    cosine_part,
    layer_parts,
    layered_groups,
    stepped_part,
)


def sam_of(config):
    with torch.device("meta"), without_init():
        return build_sam(config)


def test_layers_of_vit_b_learn_slower_the_deeper_they_lie():
    part = layer_parts(sam_of(VIT_B).image_encoder, 0.8)
    assert part("image_encoder.pos_embed") == pytest.approx(0.8**13)
    assert part("image_encoder.patch_embed.proj.weight") == pytest.approx(0.8**13)
    assert part("image_encoder.blocks.0.attn.qkv.weight") == pytest.approx(0.8**12)
    assert part("image_encoder.blocks.1.norm1.bias") == pytest.approx(0.8**11)
    assert part("image_encoder.blocks.11.mlp.lin1.weight") == pytest.approx(0.8)
    for name in ("image_encoder.neck.0.weight", "mask_decoder.iou_token.weight"):
        assert part(name) == 1.0


def test_layers_of_a_tiny_vit_are_counted_through_its_stages():
    part = layer_parts(sam_of(small_vit_t_config()).image_encoder, 0.5)  # 1 + 1 + 2 + 1 blocks
    assert part("image_encoder.patch_embed.seq.0.c.weight") == 0.5**6
    assert part("image_encoder.layers.0.blocks.0.conv1.c.weight") == 0.5**5
    assert part("image_encoder.layers.0.downsample.conv1.c.weight") == 0.5**5
    assert part("image_encoder.layers.2.blocks.1.mlp.fc1.weight") == 0.5**2
    assert part("image_encoder.layers.3.blocks.0.attn.qkv.weight") == 0.5
    assert part("image_encoder.neck.0.weight") == 1.0


def test_convolutions_all_learn_alike():
    sam = sam_of(NANO)
    part = layer_parts(sam.image_encoder, 0.8)
    assert {part(name) for name, _ in sam.named_parameters()} == {1.0}


def test_groups_hold_every_parameter_once():
    sam = sam_of(VIT_B)
    part = layer_parts(sam.image_encoder, 0.8)
    groups = layered_groups(sam.named_parameters(), 0.1, part)
    found = {id(p): group for group in groups for p in group["params"]}
    assert len(found) == sum(len(g["params"]) for g in groups) == len(list(sam.parameters()))
    block = sam.image_encoder.blocks[3]
    assert found[id(block.attn.qkv.weight)]["weight_decay"] == 0.1
    for free in (block.attn.qkv.bias, block.norm1.weight, sam.mask_decoder.mask_tokens.weight):
        assert found[id(free)]["weight_decay"] == 0.0
    assert found[id(block.norm1.weight)]["rate_part"] == pytest.approx(0.8**9)


def test_cosine_warms_up_and_falls():
    parts = [cosine_part(s, 100, 10, 0.01) for s in range(101)]
    assert parts[:10] == pytest.approx([0.1 * (s + 1) for s in range(10)])
    assert parts[10] == 1.0 and parts[55] == pytest.approx(0.505)
    assert parts[10:] == sorted(parts[10:], reverse=True) and parts[100] == pytest.approx(0.01)


def test_steps_fall_where_the_papers_do():
    parts = [stepped_part(s, 90_000, 250) for s in (0, 249, 250, 59_999, 60_000, 86_665, 86_666)]
    assert parts == pytest.approx([1 / 250, 1, 1, 1, 0.1, 0.1, 0.01])
