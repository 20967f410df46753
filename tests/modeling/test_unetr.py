"""The automatic decoder: its names, its arithmetic, and its two ways of doing the same."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from napari_segment_anything.modeling import unetr
from napari_segment_anything.modeling.unetr import ConvBlock, Doubled, UnetrDecoder

KINDS = pytest.mark.parametrize("transposed", [False, True])


def decoder(transposed=False, seed=0):
    torch.manual_seed(seed)
    made = UnetrDecoder(12, 4, transposed=transposed)
    for name, tensor in [*made.named_parameters(), *made.named_buffers()]:
        if name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2.0)
        elif name.endswith(("running_mean", ".2.bias", ".2.weight")):
            torch.nn.init.normal_(tensor, std=0.5)
    return made.eval()


def micro_sams_names(transposed):
    """Names and shapes in a ``decoder_state`` of an embedding of 256 channels."""
    doubles, side = ("block", 2) if transposed else ("conv", 1)

    def doubling(name, before, after):
        shape = (before, after) if transposed else (after, before)
        return {
            f"{name}.{doubles}.weight": (*shape, side, side),
            f"{name}.{doubles}.bias": (after,),
        }

    def convolutions(name, before, after):
        pairs = ((1, before), (4, after))
        weights = {f"{name}.block.{i}.weight": (after, n, 3, 3) for i, n in pairs}
        return weights | {f"{name}.block.{i}.bias": (after,) for i in (1, 4)}

    names = convolutions("base", 256, 512) | convolutions("decoder_head", 128, 64)
    widths = (512, 256, 128, 64)
    for i, (before, after) in enumerate(itertools.pairwise(widths)):
        names |= convolutions(f"decoder.blocks.{i}", before, after)
        names |= doubling(f"decoder.samplers.{i}", before, after)
    for i, (before, after) in enumerate(itertools.pairwise((256, *widths)), start=1):
        block = f"deconv{i}.block"
        names |= doubling(f"{block}.0", before, after)
        names |= {
            f"{block}.1.block.weight": (after, after, 3, 3),
            f"{block}.1.block.bias": (after,),
        }
        for part in ("weight", "bias", "running_mean", "running_var"):
            names[f"{block}.2.{part}"] = (after,)
        names[f"{block}.2.num_batches_tracked"] = ()
    names |= doubling("deconv_out", 64, 64)
    return names | {"out_conv.weight": (3, 64, 1, 1), "out_conv.bias": (3,)}


@KINDS
def test_names_and_shapes_are_micro_sams(transposed):
    with torch.device("meta"):
        made = UnetrDecoder(transposed=transposed)
        state = made.state_dict()
        assert {k: tuple(v.shape) for k, v in state.items()} == micro_sams_names(transposed)
        again = UnetrDecoder.fitting(state)
    assert again.state_dict().keys() == state.keys() and again.in_chans == 256


@KINDS
def test_a_decoder_is_built_to_fit_its_weights(transposed):
    made = decoder(transposed)
    again = UnetrDecoder.fitting(made.state_dict())
    again.load_state_dict(made.state_dict(), strict=True)
    x = torch.randn(1, 12, 3, 2)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), made(x))
    with pytest.raises(
        ValueError, match=r"base\.block\.1\.weight.*found 1 tensors such as \['a'\]"
    ):
        UnetrDecoder.fitting({"a": torch.zeros(1)})


@KINDS
def test_strips_and_the_plain_way_agree(transposed, monkeypatch):
    monkeypatch.setattr(unetr, "STRIP_ROWS", 7)
    made = decoder(transposed)
    x = torch.randn(2, 12, 3, 5)
    plain = made(x)
    with torch.no_grad():
        strips = made(x)
    assert plain.shape == (2, 3, 48, 80) and plain.requires_grad and not strips.requires_grad
    assert float(strips.std()) > 0.02
    assert float((plain.detach() - strips).abs().max()) < 5e-6


def test_mixing_channels_before_interpolating_changes_nothing():
    torch.manual_seed(1)
    double, x = Doubled(6, 3), torch.randn(1, 6, 4, 5)
    wanted = double.conv(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
    assert torch.allclose(double(x), wanted, atol=1e-6)


def test_a_block_normalises_each_image_and_channel_by_itself():
    block = ConvBlock(2, 1)
    for layer in (block.block[1], block.block[4]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        layer.weight.data[0, 0, 1, 1] = 1.0  # the first channel goes through
    ramp = torch.arange(6.0).reshape(1, 1, 2, 3)
    normed = F.relu((ramp - 2.5) / (35 / 12) ** 0.5)
    wanted = F.relu((normed - normed.mean()) / normed.std(correction=0))
    for scale, shift in ((1, 0), (3, 50)):  # what is far and large is the same after the norm
        with torch.no_grad():
            got = block(scale * ramp + shift, torch.randn(1, 1, 2, 3))
        assert torch.allclose(got, wanted, atol=1e-4)


def test_a_join_takes_the_middle_of_a_skip():
    channels = torch.arange(8.0).reshape(1, 8, 1, 1)
    assert unetr.middle_channels(channels, 4).flatten().tolist() == [2, 3, 4, 5]


@KINDS
def test_every_weight_learns(transposed):
    made = decoder(transposed).train()
    made(torch.randn(2, 12, 2, 2))[:, :, :20].sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_half_precision_is_near():
    torch.manual_seed(0)
    made, x = UnetrDecoder(12, 16).eval(), torch.randn(1, 12, 4, 4)
    with torch.no_grad():
        wanted, got = made(x), made.bfloat16()(x.bfloat16())
    assert got.dtype == torch.float32
    assert float((wanted - got).abs().mean()) < 0.1 * float(wanted.std())


def test_progress_counts_levels_and_cancels():
    told = []
    with torch.no_grad():
        decoder()(torch.randn(1, 12, 2, 2), lambda *at: told.append(at))
    assert told == [(done, 9) for done in range(1, 10)]

    def stop(done, _total):
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        decoder()(torch.randn(1, 12, 2, 2), stop)
