"""`auto_mask` in each mode: what is found, what it says of itself, progress and cancel."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.pictures import disks, iou, random_model

from napari_segment_anything import AutoMaskSettings, auto_mask, encode, load_model
from napari_segment_anything.automask.asking import encoded_crop
from napari_segment_anything.automask.watershed import find_seeds
from napari_segment_anything.inference.instance_maps import instance_maps
from napari_segment_anything.inference.model import on_cpu
from napari_segment_anything.modeling.unetr import UnetrDecoder
from napari_segment_anything.training.distance_targets import distance_targets

SIZE = (128, 96)
SPOTS = [(20, 20, 12), (20, 43, 11), (60, 70, 15), (100, 30, 14)]
LOOSE = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}


class Drawing(torch.nn.Module):
    """Stands for a trained decoder: draws the disks whatever it is shown."""

    def __init__(self, labels: np.ndarray, side: int) -> None:
        super().__init__()
        maps = np.stack([np.zeros((side, side)), *np.ones((2, side, side))])
        maps[:, : labels.shape[0], : labels.shape[1]] = distance_targets(labels)
        self.register_buffer("maps", torch.from_numpy(maps[None]).float())

    def forward(self, features, progress=None):
        for done in range(1, 10):
            if progress is not None:
                progress(done, 9)
        return self.maps


@pytest.fixture(scope="module")
def picture():
    return disks(SIZE, SPOTS)


@pytest.fixture(scope="module")
def drawing(picture):
    """A model of random weights whose decoder draws the truth; its square is 128 pixels."""
    model = random_model()
    side = int(model.sam.image_encoder.img_size)
    assert side == max(SIZE)
    return dataclasses.replace(model, automatic_decoder=Drawing(picture[1], side))


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu", precision="fp32")


@pytest.mark.parametrize("mode", ["auto", "decoder"])
def test_the_decoder_draws_everything(drawing, picture, mode):
    image, truth = picture
    labels, records = auto_mask(drawing, image, mode=mode)
    assert labels.dtype == np.int32 and labels.shape == SIZE and len(records) == len(SPOTS)
    ratings = [r["predicted_iou"] for r in records]
    assert ratings == sorted(ratings, reverse=True) and 0.9 < min(ratings) <= max(ratings) <= 1
    for number, record in enumerate(records, start=1):
        inside = labels == number
        assert np.array_equal(record["segmentation"], inside) and record["area"] == inside.sum()
        ys, xs = inside.nonzero()
        wide, high = xs.max() - xs.min(), ys.max() - ys.min()
        assert record["bbox"] == [xs.min(), ys.min(), wide, high]
        assert record["crop_box"] == [0, 0, SIZE[1], SIZE[0]]
        x, y = record["point_coords"][0]
        assert inside[int(y), int(x)] and iou(inside, truth == truth[int(y), int(x)]) > 0.9
    assert labels[truth > 0].astype(bool).mean() > 0.97
    embedded = auto_mask(drawing, encode(drawing, image), mode=mode)[0]
    assert np.array_equal(embedded, labels)


def test_settings_of_the_decoder_count(drawing, picture):
    image, _ = picture
    assert auto_mask(drawing, image, foreground_threshold=1.0)[0].max() == 0
    assert auto_mask(drawing, image, min_mask_region_area=400)[0].max() == 3
    with_card = dataclasses.replace(
        drawing, card=dataclasses.replace(drawing.card, automask={"min_mask_region_area": 400})
    )
    assert auto_mask(with_card, image)[0].max() == 3


def test_prompts_are_the_middles_of_the_decoders_seeds(drawing, picture):
    embedding = encode(drawing, picture[0])
    middles = find_seeds(instance_maps(drawing, embedding), AutoMaskSettings()).middles_xy()
    crop = encoded_crop(drawing, embedding, AutoMaskSettings(mode="prompts"), lambda: None)
    assert np.array_equal(crop.seeds_xy, middles) and len(middles) == 4
    assert not crop.worth_asking(np.random.default_rng(0).uniform(0, 90, (50, 2))).any()
    _, records = auto_mask(drawing, embedding, mode="prompts", **LOOSE)
    asked = {tuple(r["point_coords"][0]) for r in records}
    assert asked <= {tuple(xy) for xy in middles} and records


def test_the_grid_asks_the_grid_alone(drawing, nano, picture):
    for model in (drawing, nano):
        for record in auto_mask(model, picture[0], mode="grid", points_per_side=3, **LOOSE)[1]:
            x, y = record["point_coords"][0]
            assert (x / SIZE[1] * 6, y / SIZE[0] * 6) == pytest.approx(
                (round(x / 16), round(y / (64 / 3)))
            )


def test_nano_by_itself_asks_seeds_and_then_the_grid(nano, picture):
    embedding = encode(nano, picture[0])

    def crop(mode):
        return encoded_crop(nano, embedding, AutoMaskSettings(mode=mode), lambda: None)

    seeds = crop("auto").seeds_xy
    anywhere = np.stack(np.meshgrid(np.arange(4, 96, 8), np.arange(4, 128, 8)), -1).reshape(-1, 2)
    worth = crop("auto").worth_asking(anywhere)
    assert len(seeds) >= len(SPOTS) and worth.any() and not worth.all()
    assert np.array_equal(crop("prompts").seeds_xy, seeds)
    assert not crop("prompts").worth_asking(anywhere).any()
    assert crop("grid").seeds_xy is None and crop("grid").worth_asking is None


def test_nano_finds_disks_by_prompts(nano):
    image, truth = disks((128, 160), [(30, 30, 10), (30, 100, 14), (90, 60, 12), (95, 125, 9)])
    labels, _ = auto_mask(nano, image, mode="prompts")
    for number in range(1, 5):
        inside = labels[truth == number]
        best = np.bincount(inside[inside > 0], minlength=1).argmax()
        assert best > 0 and iou(labels == best, truth == number) > 0.7


def test_what_a_model_can_do(drawing, nano):
    plain = random_model()
    assert plain.modes == ("auto", "grid") and plain.does_by_itself == ("grid",)
    assert nano.modes == ("auto", "prompts", "grid")
    assert nano.does_by_itself == ("prompts", "grid")
    assert drawing.modes == ("auto", "decoder", "prompts", "grid")
    assert drawing.does_by_itself == ("decoder",)
    shy = dataclasses.replace(nano, card=dataclasses.replace(nano.card, least_foreground=0.0))
    assert shy.does_by_itself == ("grid",)


@pytest.mark.parametrize("mode", ["decoder", "prompts"])
def test_a_mode_that_a_model_cannot_do(mode):
    with pytest.raises(ValueError, match=rf"auto, grid for 'random', got '{mode}'.*vit_b_lm"):
        auto_mask(random_model(), np.zeros((20, 20)), mode=mode)
    with pytest.raises(ValueError, match="Expected mode out of auto, decoder, prompts, grid"):
        auto_mask(random_model(), np.zeros((20, 20)), mode="watershed")


@pytest.mark.parametrize("mode", ["auto", "decoder", "prompts", "grid"])
@pytest.mark.parametrize("from_embedding", [True, False])
def test_progress_ends_at_its_total_and_cancels(drawing, picture, mode, from_embedding):
    image = encode(drawing, picture[0]) if from_embedding else picture[0]
    told: list[tuple[int, int]] = []
    auto_mask(drawing, image, mode=mode, points_per_side=4, progress=lambda *at: told.append(at))
    done, totals = zip(*told, strict=True)
    assert len(set(totals)) == 1 and done[-1] == totals[0] and list(done) == sorted(done)

    calls = 0

    def stop(_done, _total):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        auto_mask(drawing, image, mode=mode, points_per_side=4, points_per_batch=4, progress=stop)
    assert calls == 2


def test_an_embedding_of_another_model_is_refused(drawing, picture):
    embedding = encode(random_model(seed=1), picture[0])
    with pytest.raises(ValueError, match="made by this model"):
        auto_mask(drawing, embedding)


def test_a_real_decoder_goes_along_to_the_cpu(picture):
    torch.manual_seed(0)
    decoder = UnetrDecoder(32, 4).eval().bfloat16()
    model = dataclasses.replace(random_model(), automatic_decoder=decoder)
    moved = on_cpu(model)
    assert moved.automatic_decoder is not decoder
    kinds = {p.dtype for p in moved.automatic_decoder.parameters()}
    assert kinds == {moved.dtype} and moved.modes == model.modes
    maps = instance_maps(moved, encode(moved, picture[0]))
    assert maps.foreground.shape == SIZE and maps.foreground.std() > 0
