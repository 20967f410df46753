"""MobileSAM (`vit_t`) against its own package: state dict, embedding, and answers to prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_segment_anything import sam as ours

from . import timm_stand_in
from .conftest import Pair, picture, randomised, relative_difference

timm_stand_in.install()

import mobile_sam as reference  # noqa: E402

EMBEDDING = 1e-5
LOGITS = 1e-4
SAME_PIXELS = 0.9999
IMAGE = (300, 460)


def drawn_tables(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Batch norms and attention biases start as identities and zeros: a test would not see them."""
    torch.manual_seed(seed)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(("bn.weight", "bn.running_var")):
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
        elif name.endswith(("bn.bias", "bn.running_mean")):
            torch.nn.init.normal_(tensor, std=0.2)
        elif name.endswith("attention_biases"):
            torch.nn.init.normal_(tensor, std=0.5)
    return model


@pytest.fixture(scope="module")
def vit_t() -> Pair:
    torch.manual_seed(5)
    theirs = drawn_tables(reference.sam_model_registry["vit_t"](), 6)
    # The reference indexes its biases in eval(), which has to come after they are drawn.
    theirs = randomised(theirs, 7)
    mine = ours.sam_model_registry["vit_t"]()
    mine.load_state_dict(theirs.state_dict(), strict=True)
    return Pair(theirs, mine.requires_grad_(False))


@pytest.fixture(scope="module")
def predictors(vit_t):
    theirs, mine = reference.SamPredictor(vit_t.reference), ours.SamPredictor(vit_t.ours)
    theirs.set_image(picture(*IMAGE))
    mine.set_image(picture(*IMAGE))
    return theirs, mine


def test_state_dicts_are_the_same_both_ways(vit_t):
    theirs, mine = vit_t.reference.state_dict(), vit_t.ours.state_dict()
    assert {k: (v.shape, v.dtype) for k, v in theirs.items()} == {
        k: (v.shape, v.dtype) for k, v in mine.items()
    }
    fresh = reference.sam_model_registry["vit_t"]()
    fresh.load_state_dict(mine, strict=True)
    assert all(torch.equal(v, theirs[k]) for k, v in fresh.state_dict().items())


def test_embedding(predictors):
    theirs, mine = predictors
    assert float(theirs.features.std()) > 0.1
    assert relative_difference(theirs.features, mine.features) < EMBEDDING
    assert mine.features.is_contiguous()


@pytest.mark.parametrize("multimask", [True, False])
def test_masks_of_every_kind_of_prompt(predictors, multimask):
    theirs, mine = predictors
    height, width = IMAGE
    points = {
        "point_coords": np.array([[width * 0.4, height * 0.5], [3, height - 2]]),
        "point_labels": np.array([1, 0]),
    }
    box = {"box": np.array([width * 0.2, height * 0.3, width * 0.6, height * 0.8])}
    low_res = theirs.predict(**points, multimask_output=False)[2]
    for prompt in (points, box, {"mask_input": low_res}, {**points, **box, "mask_input": low_res}):
        want = theirs.predict(**prompt, multimask_output=multimask)
        got = mine.predict(**prompt, multimask_output=multimask)
        assert want[0].any() and not want[0].all(), list(prompt)
        assert (want[0] == got[0]).mean() >= SAME_PIXELS, list(prompt)
        assert relative_difference(want[1], got[1]) < LOGITS, list(prompt)
        assert relative_difference(want[2], got[2]) < LOGITS, list(prompt)
