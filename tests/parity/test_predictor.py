"""`SamPredictor` against the reference, vit_b, fp32: embedding, logits, IoU, full-size masks."""

from __future__ import annotations

import numpy as np
import pytest
import segment_anything as reference
import torch

from napari_segment_anything import sam as ours
from napari_segment_anything.inference.model import Model
from napari_segment_anything.inference.predictor import encode, predict

from .conftest import picture, relative_difference

SIZES = {"landscape": (300, 460), "portrait": (460, 300), "square": (384, 384)}
LOGITS = 1e-4
SAME_PIXELS = 0.9999


@pytest.fixture(scope="module", params=SIZES)
def predictors(request, vit_b):
    image = picture(*SIZES[request.param])
    theirs = reference.SamPredictor(vit_b.reference)
    mine = ours.SamPredictor(vit_b.ours)
    theirs.set_image(image)
    mine.set_image(image)
    return theirs, mine, image


def prompts(height: int, width: int, low_res: np.ndarray) -> dict[str, dict]:
    points = np.array([[width * 0.4, height * 0.5], [width * 0.7, height * 0.2], [3, height - 2]])
    box = np.array([width * 0.2, height * 0.3, width * 0.6, height * 0.8])
    return {
        "positive point": {"point_coords": points[:1], "point_labels": np.array([1])},
        "points of both kinds": {"point_coords": points, "point_labels": np.array([1, 0, 1])},
        "box": {"box": box},
        "mask": {"mask_input": low_res},
        "points, box and mask": {
            "point_coords": points,
            "point_labels": np.array([1, 0, 0]),
            "box": box,
            "mask_input": low_res,
        },
    }


def test_embedding(predictors):
    theirs, mine, _ = predictors
    assert relative_difference(theirs.features, mine.features) < LOGITS
    assert (mine.original_size, mine.input_size) == (theirs.original_size, theirs.input_size)


@pytest.mark.parametrize("multimask", [True, False])
def test_masks_of_every_kind_of_prompt(predictors, multimask):
    theirs, mine, image = predictors
    _, _, first = theirs.predict(np.array([[50.0, 60.0]]), np.array([1]), multimask_output=False)
    for name, prompt in prompts(*image.shape[:2], first).items():
        want = theirs.predict(**prompt, multimask_output=multimask)
        got = mine.predict(**prompt, multimask_output=multimask)
        assert want[0].any() and not want[0].all(), name
        assert got[0].dtype == bool and (want[0] == got[0]).mean() >= SAME_PIXELS, name
        assert relative_difference(want[1], got[1]) < LOGITS, name
        assert relative_difference(want[2], got[2]) < LOGITS, name
        want_logits = theirs.predict(**prompt, multimask_output=multimask, return_logits=True)[0]
        got_logits = mine.predict(**prompt, multimask_output=multimask, return_logits=True)[0]
        assert relative_difference(want_logits, got_logits) < LOGITS, name


def test_batched_prompts(predictors):
    theirs, mine, image = predictors
    size = image.shape[:2]
    points = torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(0)) * 250
    labels = torch.tensor([[1, 0], [1, 1], [0, 1], [1, -1], [1, 0]])
    boxes = torch.tensor([[10.0, 20, 200, 150]] * 5) + torch.arange(5)[:, None]
    want_points = theirs.transform.apply_coords_torch(points, size)
    got_points = mine.transform.apply_coords_torch(points, size)
    assert torch.equal(want_points, got_points)
    want_boxes = theirs.transform.apply_boxes_torch(boxes, size)
    assert torch.equal(want_boxes, mine.transform.apply_boxes_torch(boxes, size))
    for given in ((want_points, labels, None), (want_points, labels, want_boxes)):
        want = theirs.predict_torch(*given)
        got = mine.predict_torch(*given)
        assert want[0].shape == got[0].shape == (5, 3, *size)
        assert (want[0] == got[0]).float().mean() >= SAME_PIXELS
        assert relative_difference(want[1], got[1]) < LOGITS
        assert relative_difference(want[2], got[2]) < LOGITS
    boxes_only = (None, None, want_boxes)
    assert (
        relative_difference(
            theirs.predict_torch(*boxes_only)[2], mine.predict_torch(*boxes_only)[2]
        )
        < LOGITS
    )


def test_our_own_functions_give_the_predictors_answer(predictors, vit_b):
    _, mine, image = predictors
    model = Model(vit_b.ours, "vit_b", torch.device("cpu"), "fp32", "digest")
    embedding = encode(model, image)
    assert torch.equal(embedding.tiles[0].features, mine.features)
    for name, prompt in prompts(*image.shape[:2], np.zeros((1, 256, 256), np.float32)).items():
        want = mine.predict(**prompt, multimask_output=True)
        got = predict(
            model,
            embedding,
            prompt.get("point_coords"),
            prompt.get("point_labels"),
            prompt.get("box"),
            prompt.get("mask_input"),
            multimask=True,
        )
        assert np.array_equal(want[0], got.masks), name
        np.testing.assert_allclose(want[1], got.iou, rtol=1e-6)
        np.testing.assert_allclose(want[2], got.logits, rtol=1e-6)


def test_state_of_the_predictor(predictors):
    theirs, mine, _image = predictors
    fresh = ours.SamPredictor(mine.model)
    assert not fresh.is_image_set and fresh.features is None
    with pytest.raises(RuntimeError):
        fresh.predict(np.zeros((1, 2)), np.ones(1))
    with pytest.raises(RuntimeError):
        fresh.get_image_embedding()
    assert mine.is_image_set and mine.device == theirs.device and mine.model.device == mine.device
    assert mine.get_image_embedding() is mine.features
    fresh.features, fresh.is_image_set = mine.features, True
    fresh.reset_image()
    assert not fresh.is_image_set and fresh.features is None


def test_tiny_bgr_and_torch_image(tiny):
    image = picture(90, 120)
    theirs, mine = reference.SamPredictor(tiny.reference), ours.SamPredictor(tiny.ours)
    theirs.set_image(image, "BGR")
    mine.set_image(image, "BGR")
    assert relative_difference(theirs.features, mine.features) < LOGITS
    tensor = torch.as_tensor(image).permute(2, 0, 1)[None].float()
    got = mine.transform.apply_image_torch(tensor)
    assert got.shape == (1, 3, 96, 128)  # the reference takes (B, 3) for the image's sides
    pillow = mine.transform.apply_image(image).transpose(2, 0, 1)
    assert np.abs(got[0].numpy() - pillow).mean() < 1.0
    theirs.set_torch_image(got, image.shape[:2])
    mine.set_torch_image(got, image.shape[:2])
    assert relative_difference(theirs.features, mine.features) < LOGITS
    with pytest.raises(ValueError, match="long side of 128"):
        mine.set_torch_image(torch.zeros(1, 3, 64, 64), (64, 64))
    with pytest.raises(ValueError, match="RGB"):
        mine.set_image(image, "HSV")


@pytest.mark.parametrize("size", [(77, 131), (500, 333), (128, 128), (1, 9)])
def test_transforms(size):
    theirs = reference.utils.transforms.ResizeLongestSide(128)
    mine = ours.ResizeLongestSide(128)
    image = picture(*size)
    assert np.array_equal(theirs.apply_image(image), mine.apply_image(image))
    points = np.random.default_rng(0).uniform(0, 100, (4, 3, 2))
    np.testing.assert_array_equal(
        theirs.apply_coords(points, size), mine.apply_coords(points, size)
    )
    boxes = points.reshape(-1, 4)
    np.testing.assert_array_equal(theirs.apply_boxes(boxes, size), mine.apply_boxes(boxes, size))


def test_sam_forward(tiny):
    records = []
    for seed, size in enumerate([(128, 96), (64, 128)]):
        image = torch.as_tensor(picture(*size, seed)).permute(2, 0, 1)
        generator = torch.Generator().manual_seed(seed)
        records.append(
            {
                "image": image,
                "original_size": (size[0] * 2, size[1] * 2 + 3),
                "point_coords": torch.rand(2, 3, 2, generator=generator) * 60,
                "point_labels": torch.tensor([[1, 0, 1], [1, 1, 0]]),
            }
        )
    records[1]["boxes"] = torch.tensor([[3.0, 4, 50, 60], [8, 9, 100, 40]])
    records[1]["mask_inputs"] = torch.randn(2, 1, 32, 32)
    for multimask in (True, False):
        want = tiny.reference(records, multimask)
        got = tiny.ours(records, multimask)
        for a, b in zip(want, got, strict=True):
            assert a.keys() == b.keys()
            assert (a["masks"] == b["masks"]).float().mean() >= SAME_PIXELS
            assert relative_difference(a["iou_predictions"], b["iou_predictions"]) < LOGITS
            assert relative_difference(a["low_res_logits"], b["low_res_logits"]) < LOGITS
