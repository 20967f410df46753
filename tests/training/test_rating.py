from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.pictures import disks, random_model

from napari_segment_anything import load_model
from napari_segment_anything.modeling.sizes import NANO
from napari_segment_anything.training import rating
from napari_segment_anything.training.data import CropSettings
from napari_segment_anything.training.nano import train
from napari_segment_anything.training.rating import Clicked, click_on, fit_rater, teach
from napari_segment_anything.training.synthesis import Scene
from napari_segment_anything.training.trainer import TrainSettings
from napari_segment_anything.zoo.checkpoint import write_checkpoint


def scene(count=3):
    image, labels = disks((128, 160), [(40, 50, 12), (80, 110, 16), (35, 120, 8)][:count])
    return Scene(np.repeat(image[..., None], 3, axis=2), labels, "fluorescence", image)


def bare_nano():
    model = load_model("nano", device="cpu", precision="fp32")
    model.sam.mask_decoder.rater = None
    return model


def test_clicks_are_on_objects_and_their_answers_are_measured():
    clicked = click_on(bare_nano(), scene(), np.random.default_rng(0), 2)
    assert clicked.looks.shape == (2, 3, 15) and clicked.iou.shape == (2, 3)
    assert bool((clicked.iou.amax(1) > 0.7).all())


def test_a_click_on_nothing_finds_nothing_right(monkeypatch):
    monkeypatch.setattr(rating, "BACKGROUND_PART", 1.0)
    clicked = click_on(bare_nano(), scene(), np.random.default_rng(0), 2)
    assert len(clicked.iou) == 4 and bool((clicked.iou[2:] == 0).all())
    nowhere = Scene(scene().image, np.ones((128, 160), np.int32), "fluorescence", None)
    assert len(click_on(bare_nano(), nowhere, np.random.default_rng(0), 2).iou) == 1


def test_what_the_looks_tell_is_learnt():
    rng = torch.Generator().manual_seed(0)
    looks = torch.rand(400, 3, 15, generator=rng)
    true = 0.2 + 0.6 * looks[..., 9]  # the overlap with the next mask
    rater = fit_rater(Clicked(looks[:300], true[:300]), 24)
    off = (rater.mlp(looks[300:])[..., 0] - true[300:]).abs().mean()
    assert float(off.detach()) < 0.03
    assert float((true - true.mean()).abs().mean()) > 0.14


def test_a_run_does_not_begin_without_a_rater(tmp_path):
    config = replace(NANO, rater_hidden_dim=0)
    write_checkpoint(tmp_path / "old.safetensors", random_model(config).sam, config)
    settings = TrainSettings(steps=1)
    with pytest.raises(ValueError, match="its second rating in "):
        train(tmp_path, tmp_path / "run", settings, CropSettings(), tmp_path / "old.safetensors")


def test_only_the_rater_changes(monkeypatch):
    model = random_model(NANO)
    before = {name: value.clone() for name, value in model.sam.state_dict().items()}
    rater = fit_rater(Clicked(torch.rand(4, 3, 15), torch.rand(4, 3)), 8)
    monkeypatch.setattr(rating, "fit_rater", lambda _clicked, _hidden_dim, _seed: rater)
    teach(model, [scene()], 2, np.random.default_rng(0), 0)
    rated = model.sam
    assert torch.equal(rated.mask_decoder.rater.mlp.layers[0].weight, rater.mlp.layers[0].weight)
    others = {name for name in before if "rater" not in name}
    assert len(others) > 100
    for name in others:
        assert torch.equal(rated.state_dict()[name], before[name])
