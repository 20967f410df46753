"""Adapters change nothing at first, learn beside frozen weights, and vanish into them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_segment_anything.modeling.layers import drop_path
from napari_segment_anything.modeling.lora import LoraLinear, add_lora, without_lora
from napari_segment_anything.modeling.sizes import (
    NANO,
    build_sam,
    small_vit_config,
    small_vit_t_config,
)

CONFIGS = [small_vit_config(64), small_vit_t_config(64)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(layers):
    """Adapters with something in them."""
    for layer in layers:
        nn.init.normal_(layer.up, std=0.05, generator=seeded(1))
    return layers


@pytest.fixture(params=CONFIGS, ids=["vit", "tiny_vit"])
def sam(request):
    torch.manual_seed(0)
    return build_sam(request.param).eval().requires_grad_(False)


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 64, generator=seeded(5))


def test_an_adapter_is_zero_at_the_start_and_its_product_after(image):
    linear = nn.Linear(6, 4)
    layer = LoraLinear(linear, rank=2, scale=0.5, generator=seeded())
    x = torch.randn(3, 6)
    assert torch.equal(layer(x), linear(x))
    drawn([layer])
    by_hand = x @ (linear.weight + 0.5 * layer.up @ layer.down).T + linear.bias
    torch.testing.assert_close(layer(x), by_hand)


def test_merged_answers_as_unmerged_and_has_the_old_names(sam, image):
    before = sam.image_encoder(image)
    names = list(sam.state_dict())
    added = add_lora(sam.image_encoder, 4, generator=seeded())
    assert torch.equal(sam.image_encoder(image), before)
    drawn(added)
    unmerged = sam.image_encoder(image)
    assert (unmerged - before).abs().max() > 0.01
    merged = without_lora(sam)
    torch.testing.assert_close(merged.image_encoder(image), unmerged, rtol=1e-5, atol=1e-5)
    assert list(merged.state_dict()) == names
    assert any(isinstance(m, LoraLinear) for m in sam.modules())  # the trained one keeps them


def test_merging_shares_what_it_does_not_change(sam):
    add_lora(sam.image_encoder, 2)
    merged = without_lora(sam)
    assert merged.mask_decoder.iou_token.weight is sam.mask_decoder.iou_token.weight
    assert without_lora(merged) is merged


def test_only_adapters_learn(sam, image):
    added = add_lora(sam.image_encoder, 2, generator=seeded())
    learning = {id(p) for p in sam.parameters() if p.requires_grad}
    assert learning == {id(p) for layer in added for p in (layer.down, layer.up)}
    sam.image_encoder(image).square().mean().backward()
    assert all(layer.up.grad.abs().max() > 0 for layer in added)


def test_an_encoder_without_attention_is_refused():
    with pytest.raises(ValueError, match="ConvEncoder, which has none"):
        add_lora(build_sam(NANO).image_encoder, 2)


def test_recomputed_blocks_give_the_same_gradients(image):
    torch.manual_seed(0)
    encoder = build_sam(small_vit_config(64)).image_encoder
    encoder.set_drop_path(0.5)
    gradients = []
    for recomputes in (False, True):
        encoder.recomputes_blocks = recomputes
        encoder.zero_grad()
        torch.manual_seed(7)
        encoder(image).square().mean().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, kept)


def test_dropped_paths_keep_the_mean():
    torch.manual_seed(0)
    x = torch.ones(20_000, 1, 1, 1)
    out = drop_path(x, 0.25)
    assert sorted(set(out.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert out.mean() == pytest.approx(1, abs=0.02)
    assert drop_path(x, 0.0) is x


def test_drop_path_grows_with_depth_and_sleeps_outside_training(image):
    encoder = build_sam(small_vit_config(64)).image_encoder
    encoder.set_drop_path(0.4)
    assert [block.drop_rate for block in encoder.blocks] == [0.0, 0.4]
    encoder.eval()
    assert torch.equal(encoder(image), encoder(image))
