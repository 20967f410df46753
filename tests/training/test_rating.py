from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from tests.pictures import disks, random_model

from napari_segment_anything import load_model
from napari_segment_anything.inference.decoding import decode_points
from napari_segment_anything.inference.predictor import encode
from napari_segment_anything.modeling.mask_rater import MaskRater
from napari_segment_anything.modeling.sizes import NANO
from napari_segment_anything.training import rating
from napari_segment_anything.training.crops import turned
from napari_segment_anything.training.rating import (
    Clicked,
    click_on,
    fit_rater,
    teach,
    what_is_seen,
)
from napari_segment_anything.training.synthesis import Scene


def scene(count=3):
    image, labels = disks((128, 160), [(40, 50, 12), (80, 110, 16), (35, 120, 8)][:count])
    return Scene(np.repeat(image[..., None], 3, axis=2), labels, "fluorescence", image)


def bare_nano():
    model = load_model("nano", device="cpu", precision="fp32")
    model.sam.mask_decoder.rater = None
    return model


def test_clicks_are_on_objects_and_their_answers_are_measured():
    clicked = click_on(bare_nano(), scene(), np.random.default_rng(0), 2)
    assert clicked.seen.shape == (2, 3, 15 + 128) and clicked.iou.shape == (2, 3)
    assert bool((clicked.iou.amax(1) > 0.7).all())


def test_what_is_seen_is_of_the_masks_that_answer():
    model, image = bare_nano(), scene().image
    embedding = encode(model, image)
    points_xy = np.array([[50.0, 40.0], [110.0, 80.0]])
    found = decode_points(model, embedding, points_xy)
    seen = what_is_seen(model, embedding, points_xy, found.windows)
    looks = MaskRater.looks(found.iou, found.logits)
    assert torch.allclose(seen[..., : looks.shape[-1]], looks, atol=1e-4)
    tokens = seen[..., looks.shape[-1] :]
    assert torch.equal(tokens[:, 0], tokens[:, 2]) and not torch.equal(tokens[0], tokens[1])
    assert model.sam.mask_decoder.rater is None


def test_a_click_on_nothing_finds_nothing_right(monkeypatch):
    monkeypatch.setattr(rating, "BACKGROUND_PART", 1.0)
    clicked = click_on(bare_nano(), scene(), np.random.default_rng(0), 2)
    assert len(clicked.iou) == 4 and bool((clicked.iou[2:] == 0).all())
    nowhere = Scene(scene().image, np.ones((128, 160), np.int32), "fluorescence", None)
    assert len(click_on(bare_nano(), nowhere, np.random.default_rng(0), 2).iou) == 1


def test_a_scene_is_turned_with_its_labels():
    rng = np.random.default_rng(3)
    views = [turned(scene(), rng) for _ in range(12)]
    assert {view.labels.shape for view in views} == {(128, 160), (160, 128)}
    assert len({view.labels.tobytes() for view in views}) > 4
    means = ndimage.mean(scene().image[..., 0], scene().labels, [0, 1, 2, 3])
    for view in views:
        of_view = ndimage.mean(view.image[..., 0], view.labels, [0, 1, 2, 3])
        assert np.allclose(of_view, means)


def test_what_is_seen_is_learnt(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    seen = torch.rand(400, 3, 15, generator=rng)
    true = 0.2 + 0.6 * seen[..., 9]  # the overlap with the next mask

    def off():
        rater = fit_rater(Clicked(seen[:300], true[:300]), 24)
        return float((rater.mlp(seen[300:])[..., 0] - true[300:]).abs().mean().detach())

    spread = float((true - true.mean()).abs().mean())
    assert spread > 0.14
    # One number tells it all here; a rater that is taught not to rely on one learns less of it.
    assert off() < 0.5 * spread
    monkeypatch.setattr(rating, "FORGOTTEN_PART", 0.0)
    assert off() < 0.03


def test_only_the_rater_changes(monkeypatch):
    model = random_model(NANO)
    before = {name: value.clone() for name, value in model.sam.state_dict().items()}
    rater = fit_rater(Clicked(torch.rand(4, 3, 15 + 128), torch.rand(4, 3)), 8)
    monkeypatch.setattr(rating, "fit_rater", lambda _clicked, _hidden_dim, _seed: rater)
    teach(model, [scene()], 2, np.random.default_rng(0), 0)
    rated = model.sam
    assert torch.equal(rated.mask_decoder.rater.mlp.layers[0].weight, rater.mlp.layers[0].weight)
    others = {name for name in before if "rater" not in name}
    assert len(others) > 100
    for name in others:
        assert torch.equal(rated.state_dict()[name], before[name])
