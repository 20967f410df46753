"""A small run learns, and resumes exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.pictures import disks

from napari_segment_anything.modeling.sizes import ConvConfig, SamConfig, build_sam
from napari_segment_anything.training.data import CropBatch, CropBatches, CropSettings, cut_crop
from napari_segment_anything.training.synthesis import Scene
from napari_segment_anything.training.trainer import Trainer, TrainSettings
from napari_segment_anything.training.views import draw_targets

SMALL = SamConfig(
    ConvConfig(widths=(16, 16, 16, 16), depths=(0, 1, 0, 0), stem_chans=8, window_cells=16),
    prompt_embed_dim=32,
    decoder_heads=2,
    decoder_mlp_dim=32,
    mask_in_chans=8,
    iou_head_hidden_dim=16,
)
CROPS = CropSettings(side_px=192, zoom_spread=0.1, synthetic_part=0.0, empty_part=0.0)


@pytest.fixture(scope="module")
def batches():
    spots = [(30, 30, 12), (70, 90, 15), (100, 40, 10), (30, 100, 8)]
    image, labels = disks((128, 128), spots)
    source = Scene(np.repeat(image[..., None], 3, 2), labels, "disks")
    return CropBatches([source], CROPS, batch=2, seed=0, synthetic_pool=1)


def trainer(folder, **settings) -> Trainer:
    torch.manual_seed(0)
    chosen = {"steps": 60, "warmup_steps": 5, "learning_rate": 4e-3, "bf16": False}
    return Trainer(build_sam(SMALL), TrainSettings(**{**chosen, **settings}), folder)


def test_loss_falls(batches, tmp_path):
    run = trainer(tmp_path)
    measured = [run.train_step(batches[i]) for i in range(60)]
    first, last = (np.mean([m["loss"] for m in part]) for part in (measured[:5], measured[-5:]))
    assert last < 0.6 * first
    assert np.mean([m["dense"] for m in measured[-5:]]) < 0.5 * measured[0]["dense"]


def test_resumes_exactly(batches, tmp_path):
    whole = trainer(tmp_path / "a")
    losses = [whole.train_step(batches[i])["loss"] for i in range(6)]
    begun = trainer(tmp_path / "b")
    for i in range(3):
        begun.train_step(batches[i])
    begun.save()
    torch.manual_seed(99)
    resumed = trainer(tmp_path / "b")
    assert resumed.resume() and resumed.step == 3
    assert [resumed.train_step(batches[i])["loss"] for i in range(3, 6)] == losses[3:]
    for name, value in whole.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name


def test_rate_warms_up_and_decays():
    settings = TrainSettings(steps=100, warmup_steps=10, learning_rate=1.0, final_rate=0.01)
    rates = [settings.rate(s) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < 0.02


def test_crops_are_reproduced_and_hold_objects(batches):
    again = CropBatches(batches.real, CROPS, batch=2, seed=0, synthetic_pool=1)
    a, b = batches[3], again[3]
    assert torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)
    assert a.image.shape == (2, 3, 192, 192) and (a.labels > 0).flatten(1).any(1).all()
    assert not torch.equal(batches[4].image, a.image)


def test_some_crops_have_nothing_and_teach_that(batches, tmp_path):
    empty = CropBatches(batches.real, replace(CROPS, empty_part=1.0), 2, seed=0, synthetic_pool=1)
    crops = empty[0]
    assert not crops.labels.any() and crops.image.std() > 1
    run = trainer(tmp_path)
    targets = draw_targets(crops.labels[:, ::2, ::2], 4, torch.Generator().manual_seed(0))
    assert targets.ids.tolist() == 4 * [0] and targets.crop.tolist() == [0, 0, 1, 1]
    measured = [run.train_step(empty[i]) for i in range(30)]
    # Nothing is foreground, and what a click answers there is rated low.
    assert measured[-1]["dense"] < 0.5 * measured[0]["dense"]
    assert measured[-1]["loss"] < 0.5 * measured[0]["loss"]


def test_packed_crops_lose_a_fraction_of_a_grey_value():
    rng = torch.Generator().manual_seed(0)
    image = 255 * torch.rand(2, 3, 64, 64, generator=rng)
    labels = torch.randint(0, 100_000, (2, 64, 64), generator=rng)
    inside = (torch.rand(2, 1, 64, 64, generator=rng) < 0.8).float()
    whole = CropBatch(image, inside, labels, torch.rand(2, 3, 32, 32, generator=rng))
    packed = whole.packed()
    assert 2 * sum(p.nbytes for p in parts(packed)) == sum(p.nbytes for p in parts(whole))
    back = packed.unpacked(torch.device("cpu"))
    assert [p.dtype for p in parts(back)] == [p.dtype for p in parts(whole)]
    assert torch.equal(back.labels, labels) and torch.equal(back.inside, inside)
    assert (back.image - image).abs().max() < 0.07
    assert (back.dense - whole.dense).abs().max() < 5e-4


def parts(batch):
    return [batch.image, batch.inside, batch.labels, batch.dense]


def test_image_and_labels_stay_together():
    image, labels = disks((60, 60), [(30, 30, 14)])
    source = Scene(np.repeat(image[..., None], 3, 2), labels, "disk")
    for seed in range(5):
        crop = cut_crop(source, np.random.default_rng(seed), CROPS)
        bright = (crop.image[0] > 100) & (crop.inside[0] > 0)
        same = (bright == (crop.labels > 0)).float().mean()
        assert same > 0.98
