from __future__ import annotations

import pytest
import torch

from napari_segment_anything.modeling.fast_decoder import FastMaskDecoder
from napari_segment_anything.modeling.mask_rater import MaskRater
from napari_segment_anything.modeling.sizes import NANO, SamConfig, build_sam
from napari_segment_anything.training.prompting import rater_loss


def squares():
    """Logits (1, 3, 20, 20): a sharp square of 100, the same but soft, and its upper half."""
    logits = torch.full((1, 3, 20, 20), -5.0)
    logits[0, 0, 5:15, 5:15] = 5
    logits[0, 1, 5:15, 5:15] = 0.5
    logits[0, 2, 5:10, 5:15] = 5
    return logits


def test_looks_are_of_the_mask_itself_then_of_the_others():
    iou = torch.tensor([[0.9, 0.5, 0.2]])
    (looks,) = MaskRater.looks(iou, squares())
    size = torch.log1p(torch.tensor([100.0, 50])) / 10
    whole, soft, half = [0.9, 1, size[0]], [0.5, 0, size[0]], [0.2, 1, size[1]]
    for row, seen in (
        (0, [*whole, *soft, *half, 1, 0.5, 0.5, 1, 0, 0]),
        (1, [*soft, *half, *whole, 0.5, 1, 0.5, 0, 1, 0]),
        (2, [*half, *whole, *soft, 0.5, 0.5, 1, 0, 0, 1]),
    ):
        assert torch.allclose(looks[row], torch.tensor(seen), atol=1e-6)


def test_empty_masks_have_looks():
    looks = MaskRater.looks(torch.zeros(2, 3), torch.full((2, 3, 8, 8), -9.0))
    assert looks.shape == (2, 3, 15) and bool(looks.isfinite().all())


def test_it_rates_three_masks_and_never_one():
    torch.manual_seed(0)
    sam = build_sam(NANO).eval()
    decoder, rater = sam.mask_decoder, sam.mask_decoder.rater
    image, code = torch.randn(1, 128, 32, 32), sam.prompt_encoder.get_dense_pe()
    with torch.inference_mode():
        points = torch.tensor([[[90.0, 120]], [[30.0, 40]]]), torch.ones(2, 1, dtype=torch.int64)
        sparse, dense = sam.prompt_encoder(points=points, boxes=None, masks=None)
        fast = FastMaskDecoder(decoder, code, torch.float32)
        masks, raw, token = decoder.predict_masks(image, code, sparse, dense)
        again = rater(token, raw[:, 1:], masks[:, 1:])
        for multimask, rated in ((True, again), (False, raw[:, :1])):
            plain = decoder(image, code, sparse, dense, multimask)[1]
            quick = fast.answer(image, sparse, dense, multimask).iou
            assert torch.equal(plain, rated)
            assert torch.allclose(quick, rated, atol=1e-4)


def test_a_model_may_have_none():
    assert SamConfig().rater_hidden_dim == 0
    assert build_sam(NANO).mask_decoder.rater.mlp.layers[0].out_features == NANO.rater_hidden_dim
    old = NANO.to_json().replace(f'"rater_hidden_dim": {NANO.rater_hidden_dim}, ', "")
    assert "rater" not in old and SamConfig.from_json(old).rater_hidden_dim == 0


def test_its_loss_teaches_it_alone():
    torch.manual_seed(0)
    rater = MaskRater(4, 8)
    logits = torch.cat([squares()[:, :1], squares()], dim=1).requires_grad_()
    token, iou = torch.rand(1, 4, requires_grad=True), torch.rand(1, 3, requires_grad=True)
    rated = rater(token, iou, logits[:, 1:])
    true = torch.zeros(1, 20, 20)
    true[0, 5:15, 5:15] = 1
    loss = rater_loss(rated, logits, true, torch.tensor([True]))
    assert loss.item() == pytest.approx(
        (rated - torch.tensor([[1, 1, 0.5]])).abs().mean().item(), abs=1e-6
    )
    loss.backward()
    assert logits.grad is None and iou.grad is None and token.grad is None
    assert all(p.grad is not None for p in rater.parameters())
    nothing = rater_loss(rated, logits, true, torch.tensor([False]))
    assert nothing.item() == pytest.approx(rated.mean().item(), abs=1e-6)


def test_it_sees_the_token_by_which_the_decoder_rates():
    torch.manual_seed(0)
    rater = MaskRater(4, 8)
    token = torch.rand(2, 4)
    first, second = rater(token, torch.full((2, 3), 0.5), squares().expand(2, -1, -1, -1))
    assert not torch.allclose(first, second, atol=1e-4)
