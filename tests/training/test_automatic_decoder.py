"""micro-sam's decoder for whole images, trained beside the prompts on the same embedding."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.training.runs import CARD, CONFIGS, labelled, quick, random_file

from napari_segment_anything import load_model
from napari_segment_anything.inference.instance_maps import instance_maps
from napari_segment_anything.inference.predictor import encode
from napari_segment_anything.modeling.sizes import build_sam
from napari_segment_anything.modeling.unetr import UnetrDecoder
from napari_segment_anything.training.dense import dense_heads
from napari_segment_anything.training.distance_targets import distance_targets
from napari_segment_anything.training.fit import fit
from napari_segment_anything.zoo.checkpoint import read_checkpoint, write_checkpoint


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small ViT with a decoder in its file."""
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("models") / "with_decoder.safetensors"
    sam = build_sam(CONFIGS["vit"])
    decoder = UnetrDecoder(sam.prompt_encoder.embed_dim, 4)
    write_checkpoint(
        path, sam, CONFIGS["vit"], {"card": json.dumps(CARD)}, automatic_decoder=decoder
    )
    return path


def decoder_of(path):
    return read_checkpoint(path).decoder_state


def mean_loss(history, part):
    return float(np.mean([line["decoder"] for line in history if "decoder" in line][part]))


@pytest.fixture(scope="module")
def result(file, tmp_path_factory):
    settings = quick(steps=60, validate_every=30, objects_per_crop=1, still_rounds=0)
    return fit(file, labelled(), folder=tmp_path_factory.mktemp("run"), settings=settings)


def test_it_learns_along(file, result):
    assert mean_loss(result.history, slice(-5, None)) < 0.8 * mean_loss(result.history, slice(5))
    before, after = decoder_of(file), decoder_of(result.last)
    assert list(before) == list(after)
    statistics = {n for n in before if "running_" in n or "num_batches" in n}
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert not moved & statistics and len(moved) > 0.9 * len(before.keys() - statistics)


def test_it_is_there_afterwards(result):
    model = load_model(result.last, "cpu", "fp32")
    maps = instance_maps(model, encode(model, labelled(1)[0].pixels))
    assert maps.foreground.shape == (48, 64)
    assert model.modes == ("auto", "decoder", "prompts", "grid")


def test_its_loss_teaches_it_where_objects_are():
    """Steps on one embedding of noise, by the head's loss alone."""
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels[0, 8:28, 8:28], labels[0, 40:56, 30:60] = 1, 2
    torch.manual_seed(0)
    decoder = UnetrDecoder(16, 8).eval()
    features = torch.randn(1, 16, 4, 4)
    (head,) = dense_heads(build_sam(CONFIGS["vit"]), decoder)
    optimiser = torch.optim.Adam(decoder.parameters(), 3e-3)
    for _ in range(80):
        optimiser.zero_grad()
        head.loss(features, labels).backward()
        optimiser.step()
    with torch.inference_mode():
        foreground, centre, _ = decoder(features)[0]
    inside = labels[0] > 0
    assert foreground[inside].mean() > 0.9 and foreground[~inside].mean() < 0.1
    assert centre[16:20, 16:20].mean() < 0.3 < centre[8:10, 8:10].mean()


def test_micro_sam_gets_both(result):
    content = torch.load(result.for_micro_sam, weights_only=True)
    assert set(content) == {"model_state", "decoder_state"}
    best = read_checkpoint(result.best)
    build_sam(CONFIGS["vit"]).load_state_dict(content["model_state"], strict=True)
    for name, tensor in best.decoder_state.items():
        assert torch.equal(content["decoder_state"][name], tensor)
    flat = torch.load(result.exported, weights_only=True)
    assert flat.keys() == content["model_state"].keys()


def test_kept_as_it_is(file, tmp_path):
    settings = quick(what="lora", automatic_decoder="keep")
    result = fit(file, labelled(), folder=tmp_path, settings=settings)
    before, after = decoder_of(file), decoder_of(result.last)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any("decoder" in line for line in result.history)


def test_a_model_without_one_gets_one(tmp_path):
    path = random_file(tmp_path, "vit")
    settings = quick(steps=2, automatic_decoder="add")
    result = fit(path, labelled(), folder=tmp_path / "run", settings=settings)
    assert load_model(result.best, "cpu", "fp32").automatic_decoder is not None
    plain = fit(path, labelled(), folder=tmp_path / "plain", settings=quick(steps=2))
    assert decoder_of(plain.best) is None and plain.for_micro_sam is None


def test_none_beside_a_dense_head(tmp_path):
    with pytest.raises(ValueError, match="dense head"):
        fit(
            random_file(tmp_path, "conv"),
            labelled(),
            folder=tmp_path / "run",
            settings=quick(automatic_decoder="add"),
        )


def test_a_stopped_run_goes_on_exactly(file, tmp_path):
    def stopping(state):
        if state.step == 3:
            raise Stop

    settings = quick(what="all")
    whole = fit(file, labelled(), folder=tmp_path / "whole", settings=settings)
    with pytest.raises(Stop):
        fit(file, labelled(), folder=tmp_path / "part", settings=settings, progress=stopping)
    again = fit(file, labelled(), folder=tmp_path / "part", settings=settings)
    a, b = decoder_of(whole.last), decoder_of(again.last)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_loaded_model_brings_its_decoder_s_own_file(tmp_path):
    """As micro-sam's published models do."""
    sam = build_sam(CONFIGS["vit"])
    torch.manual_seed(5)
    decoder = UnetrDecoder(sam.prompt_encoder.embed_dim, 4)
    write_checkpoint(tmp_path / "model.safetensors", sam, CONFIGS["vit"])
    write_checkpoint(
        tmp_path / "model_decoder.safetensors", sam, CONFIGS["vit"], automatic_decoder=decoder
    )
    model = load_model(tmp_path / "model.safetensors", "cpu", "fp32")
    assert model.decoder_source == tmp_path / "model_decoder.safetensors"
    result = fit(model, labelled(), folder=tmp_path / "run", settings=quick(steps=1))
    assert decoder_of(result.last).keys() == decoder.state_dict().keys()


def test_the_loss_of_true_maps_is_nought():
    """The head compares with the labels' own distances, at the maps' size."""
    labels = torch.from_numpy(labelled()[0].labels)[None, :48, :48].long()
    true = {}

    class Knowing(UnetrDecoder):
        def forward(self, features, progress=None):
            return true["maps"]

    true["maps"] = torch.from_numpy(distance_targets(labels[0].numpy()))[None]
    sam = build_sam(CONFIGS["vit"])
    (head,) = dense_heads(sam, Knowing(4, 4))
    assert float(head.loss(torch.zeros(1, 4, 3, 3), labels)) == pytest.approx(0, abs=1e-5)
