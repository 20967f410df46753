"""What is fast gives the plain twin's answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.pictures import disks, iou

from napari_segment_anything import encode, load_model, predict
from napari_segment_anything.modeling import attention, cross_attention, fast_decoder, layers
from napari_segment_anything.modeling.fast_decoder import FastMaskDecoder
from napari_segment_anything.modeling.layers import LayerNorm2d, MLPBlock
from napari_segment_anything.modeling.sizes import (
    NANO,
    build_sam,
    small_vit_config,
    without_init,
)

CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


# Attention of the encoder


@pytest.mark.parametrize("items, grid", [(6, (5, 7)), (2, (8, 8)), (1, (1, 3))])
@pytest.mark.parametrize("budget", [1, 1000, 20_000, 1 << 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_few_queries_at_a_time(items, grid, budget, dtype, monkeypatch):
    monkeypatch.setattr(attention, "CACHE_BYTES", budget)
    torch.manual_seed(0)
    tokens = grid[0] * grid[1]
    q, k, v = torch.randn(3, items, tokens, 16, dtype=dtype)
    by_row = torch.randn(items, tokens, grid[0], dtype=dtype)
    by_col = torch.randn(items, tokens, grid[1], dtype=dtype)
    plain = attention.attend(q, k, v, by_row, by_col)
    torch.testing.assert_close(
        attention.attend_in_parts(q, k, v, by_row, by_col), plain, rtol=1e-5, atol=1e-5
    )
    bias = by_row[:, :, :, None] + by_col[:, :, None, :]
    by_hand = (q @ k.mT / 4 + bias.flatten(2)).softmax(-1) @ v
    torch.testing.assert_close(plain, by_hand, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window, size", [(3, (7, 8)), (4, (8, 4)), (5, (5, 5)), (0, (4, 6))])
def test_windows_attend_among_themselves_and_to_their_padding(window, size):
    torch.manual_seed(1)
    seen = (window, window) if window else size
    module = attention.Attention(12, 3, use_rel_pos=True, input_size=seen)
    torch.nn.init.normal_(module.rel_pos_h)
    torch.nn.init.normal_(module.rel_pos_w)
    x = torch.randn(2, *size, 12)
    got = module(x, window)
    step_h, step_w = seen
    for top in range(0, size[0], step_h):
        for left in range(0, size[1], step_w):
            part = torch.zeros(2, *seen, 12)
            cut = x[:, top : top + step_h, left : left + step_w]
            part[:, : cut.shape[1], : cut.shape[2]] = cut
            alone = module(part)[:, : cut.shape[1], : cut.shape[2]]
            there = got[:, top : top + step_h, left : left + step_w]
            torch.testing.assert_close(there, alone, rtol=1e-4, atol=1e-5)


def test_gradients_take_the_plain_way_to_the_same_answer():
    encoder = build_sam(small_vit_config()).image_encoder
    torch.manual_seed(2)
    image = torch.randn(1, 3, 128, 128)
    quick = encoder(image)
    with torch.enable_grad():
        slow = encoder(image)
        assert slow.requires_grad
    torch.testing.assert_close(quick, slow.detach(), **CLOSE)


def test_tokens_in_parts_and_norms(monkeypatch):
    monkeypatch.setattr(layers, "TOKENS_AT_ONCE", 5)
    torch.manual_seed(3)
    block, x = MLPBlock(8, 32), torch.randn(2, 3, 4, 8)
    torch.testing.assert_close(block(x), block.lin2(block.act(block.lin1(x))))
    norm = LayerNorm2d(6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    image = torch.randn(2, 6, 3, 4) * 3 + 1
    centred = image - image.mean(1, keepdim=True)
    scaled = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    by_hand = scaled * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(image), by_hand, rtol=1e-5, atol=1e-5)


# The decoder


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(4)
    sam = build_sam(small_vit_config()).eval().requires_grad_(False)
    for name, parameter in sam.mask_decoder.named_parameters():
        torch.nn.init.normal_(parameter, std=0.5 if "norm" in name else 0.2)
    return sam


def prompts(sam, count, points, masks=False):
    rng = torch.Generator().manual_seed(5)
    side = sam.prompt_encoder.input_image_size[0]
    at = torch.rand(count, points, 2, generator=rng) * side
    labels = torch.randint(0, 2, (count, points), generator=rng)
    size = sam.prompt_encoder.mask_input_size
    logits = torch.randn(count, 1, *size, generator=rng) if masks else None
    return sam.prompt_encoder((at, labels), None, logits)


def plain_answer(sam, image, sparse, dense, multimask=True):
    return sam.mask_decoder(image, sam.prompt_encoder.get_dense_pe(), sparse, dense, multimask)


def fast(sam, dtype=torch.float32) -> FastMaskDecoder:
    return FastMaskDecoder(sam.mask_decoder, sam.prompt_encoder.get_dense_pe(), dtype)


@pytest.mark.parametrize("own_image", [False, True])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("count, points", [(1, 1), (1, 40), (2, 1), (7, 2), (30, 3)])
@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_the_fast_decoder_answers_like_the_plain_one(
    tiny, own_image, masks, count, points, at_once, monkeypatch
):
    pixel_bytes = 4 * 32 * np.prod(tiny.prompt_encoder.image_embedding_size)
    monkeypatch.setattr(fast_decoder, "CACHE_BYTES", int(at_once * pixel_bytes))
    monkeypatch.setattr(fast_decoder, "UPSCALED_BYTES", 10 * 4 * 32)
    monkeypatch.setattr(cross_attention, "CACHE_BYTES", int(at_once) * 7 * 4 * 32)
    sparse, dense = prompts(tiny, count, points, masks)
    torch.manual_seed(6)
    size = tiny.prompt_encoder.image_embedding_size
    image = torch.randn(count if own_image else 1, 32, *size)
    before = image.clone(), dense.clone()
    for multimask in (True, False):
        want = plain_answer(tiny, image, sparse, dense, multimask)
        got = fast(tiny).answer(image, sparse, dense, multimask)
        torch.testing.assert_close(got.logits, want[0], **CLOSE)
        torch.testing.assert_close(got.iou, want[1], **CLOSE)
        assert got.asked.tolist() == list(range(count))
    assert torch.equal(image, before[0]) and torch.equal(dense, before[1])


def test_the_last_image_is_remembered_and_no_other_taken_for_it(tiny):
    decoder, size = fast(tiny), tiny.prompt_encoder.image_embedding_size
    sparse, dense = tiny.prompt_encoder((torch.full((1, 1, 2), 40.0), torch.ones(1, 1)), None, None)

    def check(image):
        got = decoder.answer(image, sparse, dense, True)
        want = plain_answer(tiny, image, sparse, dense)
        torch.testing.assert_close(got.logits, want[0], **CLOSE)

    first, second = torch.randn(2, 1, 32, *size)
    check(first)
    seen = decoder.see_again(first, dense)
    assert decoder.see_again(first.view(first.shape), dense) is seen
    check(second)
    check(first.mT)
    check(first)
    first *= -1
    check(first)
    with_mask = tiny.prompt_encoder(
        None, None, torch.randn(1, 1, *tiny.prompt_encoder.mask_input_size)
    )
    got = decoder.answer(first, *with_mask, True)
    torch.testing.assert_close(got.logits, plain_answer(tiny, first, *with_mask)[0], **CLOSE)


def test_what_is_rated_too_low_is_left_out(tiny):
    sparse, dense = prompts(tiny, 9, 1)
    image = torch.randn(1, 32, *tiny.prompt_encoder.image_embedding_size)
    every = fast(tiny).answer(image, sparse, dense, True)
    best = every.iou.amax(1)
    level = float(best.sort().values[4])
    some = fast(tiny).answer(image, sparse, dense, True, least_iou=level)
    assert some.asked.tolist() == (best > level).nonzero()[:, 0].tolist() and len(some.asked) == 4
    torch.testing.assert_close(some.logits, every.logits[some.asked])
    none = fast(tiny).answer(image, sparse, dense, True, least_iou=math.inf)
    assert none.logits.shape == (0, *every.logits.shape[1:]) and none.iou.shape == (0, 3)


def test_nanos_decoder_with_its_own_blocks():
    torch.manual_seed(7)
    sam = build_sam(NANO).eval().requires_grad_(False)
    for block in (sam.mask_decoder.fusion, sam.mask_decoder.settling):
        torch.nn.init.normal_(block.expand.weight, std=0.1)  # identities to begin with
    sparse, dense = prompts(sam, 3, 2)
    image = torch.randn(3, 128, *sam.prompt_encoder.image_embedding_size)
    want = plain_answer(sam, image, sparse, dense)
    got = fast(sam).answer(image, sparse, dense, True)
    torch.testing.assert_close(got.logits, want[0], **CLOSE)
    torch.testing.assert_close(got.iou, want[1], **CLOSE)


def test_half_precision_pixels_keep_the_tokens_rating(tiny):
    torch.manual_seed(0)
    sparse, dense = prompts(tiny, 4, 1)
    image = torch.randn(1, 32, *tiny.prompt_encoder.image_embedding_size)
    want = fast(tiny).answer(image, sparse, dense, True)
    got = fast(tiny, torch.bfloat16).answer(image, sparse, dense, True)
    spread = float(want.iou.std())
    assert got.logits.dtype == got.iou.dtype == torch.float32
    assert float((got.iou - want.iou).abs().max()) < 0.1 * spread
    assert iou(got.logits > 0, want.logits > 0) > 0.95


# A whole model


def test_bf16_gives_the_same_masks():
    image, labels = disks((96, 128), [(30, 30, 12), (60, 90, 15), (20, 100, 8)])
    full, half = (load_model("nano", "cpu", precision) for precision in ("fp32", "bf16"))
    assert half.dtype == torch.bfloat16 and half.decoder.token_dtype == torch.float32
    here, there = encode(full, image), encode(half, image)
    assert there.nbytes == here.nbytes // 2
    for y, x, _ in [(30, 30, 12), (60, 90, 15), (20, 100, 8)]:
        a, b = predict(full, here, [[x, y]], [1]), predict(half, there, [[x, y]], [1])
        best = int(a.iou.argmax())
        assert iou(a.masks[best], b.masks[best]) > 0.97
        assert a.iou == pytest.approx(b.iou, abs=0.01)
        assert iou(b.masks[best], labels == labels[y, x]) > 0.8


def test_a_model_built_without_numbers_is_whole_once_loaded():
    wanted = build_sam(small_vit_config())
    with without_init():
        built = build_sam(small_vit_config())
    built.load_state_dict(wanted.state_dict(), strict=True, assign=True)
    for name, buffer in wanted.named_buffers():
        assert torch.equal(dict(built.named_buffers())[name], buffer), name
    image = torch.rand(1, 3, 128, 128)
    assert torch.equal(built.image_encoder(image), wanted.image_encoder(image))
