from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.pictures import disks, iou, random_model

from napari_segment_anything import auto_mask, encode, load_model, predict
from napari_segment_anything.inference.runtime import (
    devices,
    pick_device,
    pick_precision,
    precisions_for,
)

SPOTS = [(40, 50, 12), (80, 110, 16), (35, 120, 8)]


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu", precision="fp32")


def best(answer):
    return answer.masks[answer.iou.argmax()]


@pytest.fixture(scope="module")
def encoded(nano):
    image, labels = disks((128, 160), SPOTS)
    return encode(nano, image), labels


@pytest.mark.parametrize("label", [1, 2, 3])
def test_click_and_box_find_the_disk(nano, encoded, label):
    embedding, labels = encoded
    cy, cx, r = SPOTS[label - 1]
    click = predict(nano, embedding, [[cx, cy]], [1])
    assert click.masks.shape == (3, 128, 160) and click.masks.dtype == bool
    assert click.iou.dtype == click.logits.dtype == np.float32
    assert iou(best(click), labels == label) > 0.7
    box = predict(nano, embedding, box_xyxy=[cx - r, cy - r, cx + r + 1, cy + r + 1])
    assert box.masks.shape[0] == 1 and iou(box.masks[0], labels == label) > 0.8


def test_mask_prompts(nano, encoded):
    embedding, labels = encoded
    rough = np.roll(labels == 2, 3, axis=1)
    assert iou(best(predict(nano, embedding, mask=rough)), labels == 2) > 0.7
    assert iou(best(predict(nano, embedding, mask=rough.astype(np.uint16))), labels == 2) > 0.7
    first = predict(nano, embedding, [[110, 80]], [1])
    again = predict(nano, embedding, [[110, 80]], [1], mask=first.logits[first.iou.argmax()])
    assert again.masks.shape[0] == 1 and iou(again.masks[0], labels == 2) > 0.7


def test_multimask_is_a_choice(nano, encoded):
    embedding, _ = encoded
    point = ([[50, 40]], [1])
    assert len(predict(nano, embedding, *point).masks) == 3
    assert len(predict(nano, embedding, *point, multimask=False).masks) == 1
    assert len(predict(nano, embedding, [[50, 40], [90, 90]], [1, 0]).masks) == 1
    assert len(predict(nano, embedding, [[50, 40], [90, 90]], [1, 0], multimask=True).masks) == 3


def test_large_image_keeps_small_objects(nano):
    spots = [(300, 400, 7), (1500, 1700, 9), (2000, 100, 6)]
    image, labels = disks((2048, 2048), spots)
    embedding = encode(nano, image)
    for label, (cy, cx, _) in enumerate(spots, start=1):
        assert iou(best(predict(nano, embedding, [[cx, cy]], [1])), labels == label) > 0.5


def test_a_large_object_gets_a_larger_window(nano):
    image, labels = disks((700, 700), [(350, 350, 180)])
    embedding = encode(nano, image)
    boxed = predict(nano, embedding, box_xyxy=[170, 170, 531, 531])
    assert iou(boxed.masks[0], labels) > 0.8


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (31, 33)])
def test_any_size_of_image(nano, size):
    answer = predict(nano, encode(nano, np.full(size, 7, np.uint8)), [[0, 0]], [1])
    assert answer.masks.shape == (3, *size) and np.isfinite(answer.iou).all()


def test_progress_and_cancel(nano):
    seen = []
    encode(nano, np.zeros((64, 64)), progress=lambda done, total: seen.append((done, total)))
    assert [d for d, _ in seen] == list(range(1, seen[-1][1] + 1))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(nano, np.zeros((64, 64)), progress=stop)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "no prompt"),
        ({"points_xy": np.zeros((0, 2)), "point_labels": []}, "no prompt"),
        ({"points_xy": [[1, 2]], "point_labels": [1, 0]}, "1 point_labels"),
        ({"points_xy": [[1, 2]]}, "point_labels"),
        ({"points_xy": [1, 2], "point_labels": [1]}, r"\(N, 2\)"),
        ({"points_xy": [[1, np.nan]], "point_labels": [1]}, "finite"),
        ({"points_xy": [[1, 2]], "point_labels": [3]}, "0 and 1"),
        ({"box_xyxy": [5, 5, 5, 9]}, "x0 < x1"),
        ({"box_xyxy": [5, 5, 9]}, "one finite box"),
        ({"mask": np.zeros((3, 3), bool)}, r"\(128, 160\)"),
        ({"mask": np.zeros((128, 160), bool)}, "empty"),
        ({"mask": np.zeros((5, 5), np.float32)}, "low-res logits"),
    ],
)
def test_bad_prompts(nano, encoded, prompt, message):
    with pytest.raises(ValueError, match=message):
        predict(nano, encoded[0], **prompt)


def test_embedding_of_another_model(nano, encoded):
    with pytest.raises(ValueError, match="another model"):
        predict(random_model(), encoded[0], [[1, 1]], [1])


def test_square_model_decodes_the_whole_square():
    model = random_model()
    embedding = encode(model, disks((90, 130), SPOTS)[0])
    answer = predict(model, embedding, [[10, 20]], [1])
    assert answer.masks.shape == (3, 90, 130) and answer.logits.shape == (3, 32, 32)
    fed = predict(model, embedding, mask=answer.logits[0], multimask=True)
    assert not np.array_equal(fed.logits, answer.logits)


def test_devices_and_precisions():
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu and pick_precision("fp32", cpu).name == "fp32"
    assert pick_precision("auto", cpu).name in ("fp32", "bf16")
    with pytest.raises(ValueError, match="auto, cpu, cuda, cuda:N, mps"):
        pick_device("gpu")
    with pytest.raises(ValueError, match="auto, fp32, bf16, fp16"):
        pick_precision("int8", cpu)
    assert pick_precision("fp16", cpu).name == "fp16"
    assert pick_device(cpu) == cpu
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="CUDA"):
            pick_device("cuda:1")


@pytest.mark.parametrize(
    ("features", "picked", "why"),
    [
        ((), "fp32", "no native bf16 found on this CPU"),
        (("avx512_bf16",), "fp32", "ask for bf16 to try it"),
        (("avx512_bf16", "amx_tile"), "bf16", "AMX"),
    ],
)
def test_auto_picks_bf16_where_there_are_matrix_units(monkeypatch, features, picked, why):
    for name in ("amx_tile", "avx512_bf16"):
        has = name in features
        probe = f"_is_{name}_supported"
        monkeypatch.setattr(torch.cpu, probe, lambda has=has: has, raising=False)
    choice = pick_precision("auto", torch.device("cpu"))
    assert choice.name == picked and why in choice.reason


def test_a_torch_that_knows_no_features_picks_fp32(monkeypatch):
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.delattr(torch.cpu, f"_is_{name}_supported", raising=False)
    assert pick_precision("auto", torch.device("cpu")).name == "fp32"


@pytest.mark.parametrize("native", [True, False])
def test_auto_on_gpus(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert pick_precision("auto", torch.device("cuda")).name == ("bf16" if native else "fp32")
    mps = pick_precision("auto", torch.device("mps"))
    assert mps.name == "fp32" and "not been measured" in mps.reason


def test_what_there_is_to_choose(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for count, gpus in ((1, ["cuda"]), (2, ["cuda:0", "cuda:1"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert devices() == ("auto", "cpu", *gpus)
    assert "fp16" in precisions_for(torch.device("cuda"))
    assert precisions_for(torch.device("cpu")) == ("auto", "fp32", "bf16")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_runs_on_the_cpu_too(precision):
    half = load_model("nano", device="cpu", precision=precision)
    image, truth = disks((128, 160), SPOTS)
    labels, _records = auto_mask(half, image, points_per_side=8)
    assert labels.max() >= len(SPOTS)
    assert iou(labels > 0, truth > 0) > 0.7


def test_bf16_agrees_with_fp32(nano, encoded):
    embedding, _labels = encoded
    half = load_model("nano", device="cpu", precision="bf16")
    image, _ = disks((128, 160), SPOTS)
    answer = predict(half, encode(half, image), [[50, 40]], [1])
    assert half.precision == "bf16" and answer.iou.dtype == np.float32
    assert iou(best(answer), best(predict(nano, embedding, [[50, 40]], [1]))) > 0.9


@pytest.mark.parametrize("x", [-0.4, 0.0])
def test_a_click_on_the_outer_half_of_an_edge_pixel_counts(nano, x):
    image, labels = disks((700, 700), [(300, 2, 12)])
    answer = predict(nano, encode(nano, image), [[x, 300]], [1])
    assert iou(best(answer), labels) > 0.8


def test_foreground_beside_a_window_counts_and_background_far_away_does_not(nano):
    image, labels = disks((700, 700), [(350, 350, 40)])
    embedding = encode(nano, image)
    box = [310, 310, 391, 391]
    alone = predict(nano, embedding, box_xyxy=box)
    with_far = predict(nano, embedding, [[5, 5]], [0], box)
    assert np.array_equal(alone.masks, with_far.masks) and iou(alone.masks[0], labels) > 0.8


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"contrast_limits": (3,)}, "low, high"),
        ({"contrast_limits": 5}, "low, high"),
        ({"contrast_limits": (1, 0)}, "low <= high"),
        ({"contrast_limits": (0, np.nan)}, "finite"),
    ],
)
def test_bad_contrast_limits(arguments, what):
    with pytest.raises(ValueError, match=what):
        encode(random_model(), np.zeros((20, 20)), **arguments)


def test_what_is_no_image_embedding_or_logits():
    model = random_model()
    for image in ([[1, 2], [3]], torch.zeros(20, 20, requires_grad=True)):
        with pytest.raises(ValueError, match="Expected"):
            encode(model, image)
    embedding = encode(model, np.eye(20), contrast_limits=np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="Embedding"):
        predict(model, np.zeros((20, 20)), [[1, 1]], [1])
    logits = predict(model, embedding, [[1, 1]], [1]).logits[0]
    logits[3, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        predict(model, embedding, mask=logits)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_extremely_thin_images(nano, size):
    for model in (nano, random_model()):
        answer = predict(model, encode(model, np.ones(size)), [[0, 0]], [1])
        assert answer.masks.shape == (3, *size)
