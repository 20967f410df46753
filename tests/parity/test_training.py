"""What a run exports is read by the reference, and answers there as here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_segment_anything import encode, load_model, predict
from napari_segment_anything.modeling.sizes import VIT_B, build_sam
from napari_segment_anything.training.fit import fit
from napari_segment_anything.zoo.checkpoint import read_checkpoint
from napari_segment_anything.zoo.export import export_weights
from tests.training.runs import CONFIGS, labelled, quick, random_file

from .conftest import picture, reference, reference_of, relative_difference


@pytest.mark.parametrize("what", ["lora", "all"])
def test_the_reference_answers_as_the_trained_model(tmp_path, what):
    result = fit(
        random_file(tmp_path, "vit"),
        labelled(),
        folder=tmp_path / "run",
        # A rate at which no two masks stay the same; the last weights are the best if none fail.
        settings=quick(what=what, steps=2, learning_rate=3e-3),
    )
    theirs = reference_of(CONFIGS["vit"]).eval()
    state = torch.load(result.exported, weights_only=True)
    theirs.load_state_dict(state, strict=True)
    mine = load_model(result.best, "cpu", "fp32")
    image = picture(64, 64)
    predictor = reference.SamPredictor(theirs)
    predictor.set_image(image)
    masks, iou, logits = predictor.predict(np.array([[20.0, 30]]), np.array([1]))
    answer = predict(mine, encode(mine, image), [[20, 30]], [1])
    assert relative_difference(logits, answer.logits) < 1e-4
    assert relative_difference(iou, answer.iou) < 1e-4
    assert (masks == answer.masks).mean() > 0.999


def test_the_registry_of_the_reference_loads_an_exported_vit_b(tmp_path):
    torch.manual_seed(0)
    sam = build_sam(VIT_B)
    export_weights(tmp_path / "model.pth", sam)
    theirs = reference.sam_model_registry["vit_b"](checkpoint=str(tmp_path / "model.pth"))
    for (name, a), (other, b) in zip(
        theirs.state_dict().items(), sam.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(a, b)
    mine = read_checkpoint(tmp_path / "model.pth")
    assert mine.config == VIT_B and list(mine.state_dict) == list(sam.state_dict())
