"""TinyViT's quick ways against their plain twins, and what a caller relies on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tests.pictures import random_model

from napari_segment_anything import encode, predict
from napari_segment_anything.modeling import layers, tiny_vit
from napari_segment_anything.modeling.sizes import build_sam, small_vit_t_config
from napari_segment_anything.modeling.tiny_vit import (
    ConvNorm,
    MBConv,
    Mlp,
    TinyViTBlock,
    distance_index,
)


def drawn(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """``module`` in eval mode, with norms and biases that are no identities."""
    torch.manual_seed(seed)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith(("bn.weight", "bn.running_var")):
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
        elif name.endswith(("bn.bias", "bn.running_mean", "attention_biases")):
            torch.nn.init.normal_(tensor, std=0.5)
    return module.eval()


@pytest.fixture
def encoder():
    return drawn(build_sam(small_vit_t_config()).image_encoder).requires_grad_(False)


def plain_answer(encoder, x, monkeypatch):
    with monkeypatch.context() as plain:
        plain.setattr(ConvNorm, "forward", ConvNorm.plain)
        plain.setattr(MBConv, "forward", MBConv.plain)
        plain.setattr(Mlp, "forward", Mlp.plain)
        return encoder(x)


def assert_close(a, b):
    a, b = a.detach(), b.detach()
    assert float((a - b).abs().max() / b.abs().max()) < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConvNorm(6, 10),
        lambda: ConvNorm(6, 10, kernel=3, stride=2),
        lambda: ConvNorm(6, 6, kernel=3, groups=6),
    ],
)
def test_folded_norm_is_the_plain_one(make):
    layer = drawn(make())
    x = torch.randn(2, 6, 11, 14)
    assert_close(layer(x), layer.plain(x))
    layer.train()
    assert torch.equal(layer(x), copy.deepcopy(layer).plain(x))


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 64, 70])
@pytest.mark.parametrize("batch", [1, 2])
def test_strips_are_the_map_in_one_piece(rows, batch):
    assert tiny_vit.STRIP_ROWS == 32
    block = drawn(MBConv(5))
    x = torch.randn(batch, 5, rows, 9).contiguous(memory_format=torch.channels_last)
    assert_close(block(x), block.plain(x))


def test_tokens_in_parts_are_the_map_in_one_piece():
    assert layers.TOKENS_AT_ONCE == 1024
    mlp = drawn(Mlp(6))
    for side in (4, 32, 33):
        x = torch.randn(2, side, side, 6)
        assert_close(mlp(x), mlp.plain(x))


def test_nothing_is_kept_that_could_be_out_of_date(encoder, monkeypatch):
    x = torch.randn(1, 3, 128, 128)
    first = encoder(x)
    assert_close(first, plain_answer(encoder, x, monkeypatch))

    other = drawn(build_sam(small_vit_t_config()).image_encoder, seed=1)
    encoder.load_state_dict(other.state_dict())
    assert not torch.allclose(encoder(x), first, rtol=0.1)
    assert_close(encoder(x), plain_answer(encoder, x, monkeypatch))

    encoder.train()(torch.randn(2, 3, 128, 128))  # moves the running statistics
    encoder.eval()
    assert_close(encoder(x), plain_answer(encoder, x, monkeypatch))

    assert encoder.double()(x.double()).dtype == torch.float64
    assert_close(encoder(x.double()), plain_answer(encoder, x.double(), monkeypatch))


def test_half_precision(encoder):
    x = torch.randn(1, 3, 128, 128)
    want = encoder(x)
    with torch.autocast("cpu", torch.bfloat16):
        automatic = encoder(x)
    cast = encoder.bfloat16()(x.bfloat16())
    assert cast.dtype == torch.bfloat16
    for got in (automatic, cast):
        assert float((got.float() - want).abs().max() / want.abs().max()) < 0.05


def test_gradients_reach_all_that_the_embedding_depends_on():
    encoder = build_sam(small_vit_t_config()).image_encoder
    for mode in (True, False):
        drawn(encoder).train(mode).zero_grad()
        encoder(torch.randn(2, 3, 128, 128)).square().mean().backward()
        without = {n for n, p in encoder.named_parameters() if p.grad is None}
        assert {n.split(".")[0] for n in without} == {"head", "norm_head"}


def test_any_memory_format_and_whole_windows():
    block = drawn(TinyViTBlock(8, 2, 4))
    x = torch.randn(2, 8, 8, 12)
    assert_close(block(x), block(x.contiguous(memory_format=torch.channels_last)))


def test_biases_are_those_of_distances():
    index = distance_index(3)
    for a in range(9):
        for b in range(9):
            assert index[a, b] == abs(a // 3 - b // 3) * 3 + abs(a % 3 - b % 3)


def test_progress_counts_blocks_and_can_stop(encoder):
    seen = []
    encoder(torch.zeros(1, 3, 128, 128), progress=lambda *step: seen.append(step))
    assert seen == [(i, 6) for i in range(1, 7)]

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        encoder(torch.zeros(1, 3, 128, 128), progress=stop)


def test_encode_and_predict():
    model = random_model(small_vit_t_config())
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    embedding = encode(model, image)
    assert embedding.tiles[0].features.shape == (1, 32, 8, 8)
    assert predict(model, embedding, [[30, 40]], [1]).masks.shape == (3, 90, 70)
