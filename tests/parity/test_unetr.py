"""Automatic segmentation against micro-sam: names, maps, objects, targets and loss."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from napari_segment_anything.automask.watershed import find_seeds, grown
from napari_segment_anything.config import AutoMaskSettings
from napari_segment_anything.inference.instance_maps import InstanceMaps, instance_maps
from napari_segment_anything.inference.model import Model
from napari_segment_anything.inference.predictor import encode
from napari_segment_anything.modeling.sizes import build_sam, small_vit_config
from napari_segment_anything.modeling.unetr import UnetrDecoder
from napari_segment_anything.training.distance_targets import distance_loss, distance_targets

from . import micro_sam_stand_in

micro_sam = micro_sam_stand_in.reference()

import segment_anything  # noqa: E402

from .conftest import picture, randomised, reference_of  # noqa: E402

MAPS = 1e-5
SAME_PIXELS = 0.9999
KINDS = pytest.mark.parametrize("transposed", [False, True])


def unetr_of(image_encoder, transposed, seed=0):
    """The reference's UNETR on an encoder, its weights drawn, its batch norms no identities."""
    torch.manual_seed(seed)
    made = micro_sam.UNETR(
        backbone="sam",
        encoder=image_encoder,
        out_channels=3,
        use_sam_stats=True,
        final_activation="Sigmoid",
        use_skip_connection=False,
        resize_input=True,
        use_conv_transpose=transposed,
    )
    for name, tensor in made.named_buffers():
        if name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.2, 2.0)
        elif name.endswith("running_mean"):
            torch.nn.init.normal_(tensor, std=0.3)
    made.out_conv.weight.data *= 4  # so that maps cross their thresholds
    return made.eval().requires_grad_(False)


def decoder_state(unetr):
    return {k: v for k, v in unetr.state_dict().items() if not k.startswith("encoder")}


def ours_from(state):
    made = UnetrDecoder.fitting(state).eval().requires_grad_(False)
    made.load_state_dict(state, strict=True)
    return made


@pytest.fixture(scope="module")
def sam():
    config = dataclasses.replace(small_vit_config(256), prompt_embed_dim=64)
    torch.manual_seed(3)
    theirs = randomised(reference_of(config), 4)
    mine = build_sam(config).eval().requires_grad_(False)
    mine.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, mine


@KINDS
def test_maps_of_an_embedding(sam, transposed):
    unetr = unetr_of(sam[0].image_encoder, transposed)
    state = decoder_state(unetr)
    mine = ours_from(state)
    assert mine.state_dict().keys() == state.keys()
    features = torch.randn(2, 64, 7, 5)
    with torch.no_grad():
        wanted = micro_sam.DecoderAdapter(unetr)._forward_impl(features)
        got = mine(features)
    assert wanted.shape == (2, 3, 112, 80)
    assert bool((wanted.std(dim=(0, 2, 3)) > 0.1).all())
    assert float((wanted - got).abs().max()) < MAPS
    plain = mine.requires_grad_(True)(features)
    assert float((wanted - plain.detach()).abs().max()) < MAPS


@KINDS
def test_micro_sam_takes_our_state(sam, transposed):
    torch.manual_seed(5)
    mine = UnetrDecoder(64, transposed=transposed).eval().requires_grad_(False)
    unetr = micro_sam.get_unetr(sam[0].image_encoder, mine.state_dict(), "cpu").eval()
    features = torch.randn(1, 64, 4, 4)
    with torch.no_grad():
        wanted = micro_sam.DecoderAdapter(unetr)._forward_impl(features)
        assert float((wanted - mine(features)).abs().max()) < MAPS


@pytest.mark.parametrize(
    ("size_hw", "transposed"),
    [((150, 230), False), ((400, 321), True), ((97, 41), False), ((256, 256), True)],
)
def test_image_to_maps_and_objects(sam, size_hw, transposed):
    theirs, mine = sam
    unetr = unetr_of(theirs.image_encoder, transposed)
    image = picture(*size_hw)
    predictor = segment_anything.SamPredictor(theirs)
    predictor.set_image(image)
    segmenter = micro_sam.InstanceSegmentationWithDecoder(
        predictor, micro_sam.DecoderAdapter(unetr)
    )
    given = {
        "features": predictor.features.numpy(),
        "input_size": predictor.input_size,
        "original_size": predictor.original_size,
    }
    segmenter.initialize(image, image_embeddings=given)
    wanted = segmenter.get_state()

    decoder = ours_from(decoder_state(unetr))
    model = Model(mine, "m", torch.device("cpu"), "fp32", "m", automatic_decoder=decoder)
    maps = instance_maps(model, encode(model, image))
    for name, got in (
        ("foreground", maps.foreground),
        ("center_distances", maps.centre_distance),
        ("boundary_distances", maps.boundary_distance),
    ):
        assert got.shape == size_hw and got.dtype == np.float32
        assert np.abs(wanted[name] - got).max() < MAPS, name
    objects = grown(find_seeds(maps, AutoMaskSettings()))
    same_as(objects, segmenter.generate())


def same_as(mine, theirs):
    theirs = np.asarray(theirs)
    assert mine.max() == theirs.max()
    assert (mine == theirs).mean() >= SAME_PIXELS


def field(size_hw, count, seed):
    """Labels of ellipses that touch and hide each other."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    labels = np.zeros(size_hw, np.int32)
    for label in range(1, count + 1):
        cy, cx = rng.uniform(0, size_hw[0]), rng.uniform(0, size_hw[1])
        a, b, turn = rng.uniform(5, 22), rng.uniform(5, 22), rng.uniform(0, np.pi)
        u = (y - cy) * np.cos(turn) + (x - cx) * np.sin(turn)
        v = (x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)
        labels[(u / a) ** 2 + (v / b) ** 2 <= 1] = label
    return labels


def predicted(labels, seed, blur=1.5, noise=0.15):
    """Maps as a decoder might predict them: the targets, blurred, under smooth noise."""
    rng = np.random.default_rng(seed)
    maps = [
        np.clip(
            ndimage.gaussian_filter(target, blur)
            + noise * ndimage.gaussian_filter(rng.normal(size=labels.shape), 2.0) / 0.14,
            0,
            1,
        ).astype(np.float32)
        for target in distance_targets(labels)
    ]
    return InstanceMaps(*maps)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"min_size": 60},
        {"center_distance_threshold": 0.3, "boundary_distance_threshold": 0.7},
        {"foreground_threshold": 0.2, "foreground_smoothing": 0.0, "distance_smoothing": 4.0},
    ],
    ids=str,
)
def test_objects_of_the_same_maps(seed, settings):
    maps = predicted(field((220, 310), 60, seed), seed)
    segmenter = micro_sam.InstanceSegmentationWithDecoder(None, None)
    segmenter.set_state(
        {
            "foreground": maps.foreground,
            "center_distances": maps.centre_distance,
            "boundary_distances": maps.boundary_distance,
        }
    )
    wanted = segmenter.generate(**settings)
    own = {"min_mask_region_area" if k == "min_size" else k: v for k, v in settings.items()}
    chosen = AutoMaskSettings.checked(own)
    got = grown(find_seeds(maps, chosen), chosen.min_mask_region_area)
    assert wanted.max() > 15
    same_as(relabel_sequential(got)[0], relabel_sequential(np.asarray(wanted, np.int32))[0])


def test_defaults_are_micro_sams():
    import inspect

    theirs = inspect.signature(micro_sam.InstanceSegmentationWithDecoder.generate).parameters
    mine = dataclasses.asdict(AutoMaskSettings())
    for name in (
        "center_distance_threshold",
        "boundary_distance_threshold",
        "foreground_threshold",
        "foreground_smoothing",
        "distance_smoothing",
    ):
        assert mine[name] == theirs[name].default, name
    assert mine["min_mask_region_area"] == theirs["min_size"].default


def hard_labels():
    """A ring around a disk, a border that is cut, single pixels, neighbours that touch."""
    y, x = np.mgrid[:80, :90]
    r = np.hypot(y - 30, x - 30)
    labels = np.zeros((80, 90), np.int32)
    labels[(r < 22) & (r > 15)], labels[r < 5] = 3, 9
    labels[:, 80:] = 7
    labels[60:70, 5:40], labels[70:78, 20:60] = 1, 2
    labels[0, 0], labels[79, 0], labels[78, 1] = 4, 5, 5
    labels[5, 60], labels[20, 70:72] = 3, 7  # parts of labels that lie elsewhere, too
    return labels


@pytest.mark.parametrize("least_area", [0, 25])
@pytest.mark.parametrize("labels", [hard_labels(), field((120, 140), 30, 7)], ids=["hard", "field"])
def test_targets(labels, least_area):
    transform = micro_sam.PerObjectDistanceTransform(
        distances=True, boundary_distances=True, foreground=True, min_size=least_area
    )
    wanted, got = transform(labels), distance_targets(labels, least_area)
    assert got.dtype == np.float32 and got.shape == wanted.shape
    assert np.abs(wanted - got).max() < 1e-6


def test_loss_and_its_gradient():
    torch.manual_seed(0)
    targets = torch.rand(2, 3, 20, 30)
    targets[:, 0] = (targets[:, 0] > 0.4).float()
    values = []
    for loss in (micro_sam.DiceBasedDistanceLoss(mask_distances_in_bg=True), distance_loss):
        maps = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(1))
        maps.requires_grad_(True)
        value = loss(maps, targets)
        value.backward()
        values.append((value.detach(), maps.grad))
    assert torch.allclose(values[0][0], values[1][0], rtol=1e-6)
    assert torch.allclose(values[0][1], values[1][1], rtol=1e-4, atol=1e-9)
