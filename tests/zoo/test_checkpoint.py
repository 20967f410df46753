from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_segment_anything import encode, load_model, predict
from napari_segment_anything.modeling.sizes import NANO, SamConfig, build_sam, tiny_vit_config
from napari_segment_anything.sam import sam_model_registry
from napari_segment_anything.zoo import checkpoint as module
from napari_segment_anything.zoo.checkpoint import (
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A tiny model that counts as an official size, so that files stay small."""
    config = tiny_vit_config()
    monkeypatch.setattr(module, "BY_WIDTH", {32: config})
    torch.manual_seed(0)
    return build_sam(config), config, tmp_path


def assert_same(state, sam):
    want = sam.state_dict()
    assert state.keys() == want.keys()
    assert all(torch.equal(state[k], want[k]) for k in want)


def test_official_and_micro_sam(tiny):
    sam, config, folder = tiny
    torch.save(sam.state_dict(), folder / "a.pth")
    read = read_checkpoint(folder / "a.pth")
    assert_same(read.state_dict, sam)
    assert read.config == config and len(read.digest) == 64
    prefixed = {f"sam.{k}": v for k, v in sam.state_dict().items()}
    torch.save({"model_state": prefixed, "decoder_state": {}}, folder / "b.pt")
    assert_same(read_checkpoint(folder / "b.pt").state_dict, sam)
    assert_same(load_model(folder / "b.pt").sam.state_dict(), sam)


@pytest.mark.parametrize("half", [False, True])
def test_our_own_files_carry_their_configuration(tmp_path, half):
    config = SamConfig(tiny_vit_config(64).encoder, prompt_embed_dim=48, decoder_heads=4)
    torch.manual_seed(1)
    sam = build_sam(config).eval()
    path = tmp_path / "own.safetensors"
    write_checkpoint(path, sam, config, {"card": '{"description": "d"}'}, half=half)
    model = load_model(path)
    assert model.name == "own" and model.card.description == "d"
    stored = load_file(path)
    assert stored["mask_decoder.iou_token.weight"].dtype == (
        torch.float16 if half else torch.float32
    )
    for name, value in model.sam.state_dict().items():
        assert torch.equal(value, stored[name].float()), name
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    assert predict(model, encode(model, image), [[9, 9]], [1]).masks.shape == (3, 40, 50)
    assert list(tmp_path.iterdir()) == [path]


def test_widths_of_the_official_models(tmp_path):
    for width, name in ((768, "vit_b"), (1024, "vit_l"), (1280, "vit_h")):
        path = tmp_path / f"{name}.pth"
        torch.save({module.PATCH_KEY: torch.zeros(width, 3, 16, 16)}, path)
        with pytest.raises(CheckpointError, match="missing"):
            read_checkpoint(path)
    torch.save({module.PATCH_KEY: torch.zeros(99, 3, 16, 16)}, path)
    with pytest.raises(CheckpointError, match=r"768, 1024, 1280, found .*99"):
        read_checkpoint(path)


class Evil:
    ran = False

    def __reduce__(self):
        return (setattr, (Evil, "ran", True))


def test_code_in_a_file_does_not_run(tmp_path):
    for protocol, path in ((2, tmp_path / "evil.pth"), (4, tmp_path / "evil.pt")):
        path.write_bytes(pickle.dumps({"model_state": Evil()}, protocol=protocol))
        with pytest.raises(CheckpointError, match=path.name):
            read_checkpoint(path)
    torch.save({"model_state": Evil()}, path)
    with pytest.raises(CheckpointError, match="holds code"):
        read_checkpoint(path)
    assert not Evil.ran


def test_damaged_and_foreign_files(tiny):
    sam, config, folder = tiny
    whole = folder / "whole.pth"
    torch.save(sam.state_dict(), whole)
    cases = {}
    for suffix in ("pth", "safetensors"):
        (folder / f"empty.{suffix}").touch()
        (folder / f"text.{suffix}").write_text("not a model\n" * 100)
        cases |= {f"empty.{suffix}": "expected", f"text.{suffix}": "expected"}
    (folder / "cut.pth").write_bytes(whole.read_bytes()[:-5000])
    own = folder / "own.safetensors"
    write_checkpoint(own, sam, config)
    (folder / "cut.safetensors").write_bytes(own.read_bytes()[:-5000])
    lying = struct.pack("<Q", 1 << 60) + own.read_bytes()[8:]
    (folder / "lying.safetensors").write_bytes(lying)
    torch.save([1, 2], folder / "list.pth")
    torch.save({"epoch": 3, "x": torch.zeros(2)}, folder / "other.pth")
    torch.save({"layer.weight": torch.zeros(2)}, folder / "foreign.pth")
    cases |= dict.fromkeys(["cut.pth", "cut.safetensors", "lying.safetensors"], "expected")
    cases |= {"list.pth": "dict of tensors", "other.pth": "dict of tensors"}
    cases |= {"foreign.pth": "layer.weight", "missing.pth": "found none"}
    for name, message in cases.items():
        with pytest.raises(CheckpointError, match=message) as error:
            read_checkpoint(folder / name)
        assert name in str(error.value)


def test_tampered_tensors(tiny):
    sam, config, folder = tiny
    good = {k: v.clone() for k, v in sam.state_dict().items()}
    key = "mask_decoder.iou_token.weight"

    def refused(state, message, metadata=None):
        path = folder / "t.safetensors"
        save_file(state, path, metadata or {module.CONFIG_KEY: config.to_json()})
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)

    refused({**good, key: torch.zeros(1, 31)}, "shape")
    refused({**good, key: torch.full((1, 32), torch.nan)}, "finite")
    refused({**good, "extra": torch.zeros(1)}, "unknown")
    refused({k: v for k, v in good.items() if k != key}, "1 missing")
    refused(good, "configuration", {module.CONFIG_KEY: "{}"})
    huge = json.loads(config.to_json())
    huge["prompt_embed_dim"] = 10**12
    refused(good, "configuration", {module.CONFIG_KEY: json.dumps(huge)})


def test_mobile_sam_is_recognised(tmp_path):
    path = tmp_path / "mobile_sam.pt"
    torch.save({"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(CheckpointError, match="MobileSAM"):
        read_checkpoint(path)


def test_registry_refuses_another_size(tiny):
    sam, _, folder = tiny
    torch.save(sam.state_dict(), folder / "tiny.pth")
    with pytest.raises(CheckpointError, match="vit_b"):
        sam_model_registry["vit_b"](checkpoint=folder / "tiny.pth")


def test_configurations_survive_json():
    for config in (NANO, tiny_vit_config(), SamConfig()):
        assert SamConfig.from_json(config.to_json()) == config


def test_names_and_paths(tmp_path):
    model = load_model()
    assert model.name == "nano" and model.card.automask and model.precision in ("fp32", "bf16")
    with pytest.raises(ValueError, match="nano, vit_b"):
        load_model("vit_x")
    with pytest.raises(CheckpointError, match="found none"):
        load_model(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"pixel_std": [0, 1, 1]}, "pixel_std"),
        ({"pixel_mean": [1, 2]}, "pixel_mean"),
        ({"decoder_depth": 1.5}, "decoder_depth"),
        ({"encoder.window_cells": 0}, "window_cells"),
        ({"encoder.window_cells": 65536}, "window_cells"),
        ({"encoder.widths": []}, "widths"),
        ({"encoder.depths": [60000, 2, 2, 2]}, "blocks"),
        ({"encoder": 3}, "configuration"),
    ],
)
def test_configurations_that_no_model_has(change, what):
    raw = json.loads(NANO.to_json())
    for name, value in change.items():
        part, _, key = name.rpartition(".")
        (raw[part] if part else raw)[key] = value
    with pytest.raises(ValueError, match=what):
        SamConfig.from_json(json.dumps(raw))


def test_bottomless_json_is_refused(tmp_path):
    deep = "[" * 100_000
    with pytest.raises(ValueError, match="Expected a model configuration"):
        SamConfig.from_json(deep)
    config = tiny_vit_config()
    for card in (deep, '{"automask": {"points_per_side": "x"}}', '{"automask": 3}'):
        write_checkpoint(tmp_path / "a.safetensors", build_sam(config), config, {"card": card})
        with pytest.raises(CheckpointError, match=r"a\.safetensors: expected a model card"):
            load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "strange",
    [
        lambda t: t.to_sparse(),
        lambda t: t.to("meta"),
        lambda t: t.to(torch.complex64),
        lambda t: t.to(torch.float8_e4m3fn),
    ],
)
def test_weights_that_are_no_plain_numbers(tiny, strange):
    sam, _, folder = tiny
    state = sam.state_dict()
    state["mask_decoder.iou_token.weight"] = strange(state["mask_decoder.iou_token.weight"])
    torch.save(state, folder / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: .*iou_token"):
        read_checkpoint(folder / "a.pth")


def test_a_flat_patch_embedding_is_told(tiny):
    sam, _, folder = tiny
    state = {**sam.state_dict(), module.PATCH_KEY: torch.tensor(1.0)}
    torch.save(state, folder / "a.pth")
    with pytest.raises(CheckpointError, match="width"):
        read_checkpoint(folder / "a.pth")


def test_folders_and_models_that_cannot_be_loaded_yet(tmp_path):
    with pytest.raises(CheckpointError, match="found a folder"):
        load_model(tmp_path)
    for name in ("vit_t", "vit_t_lm"):
        with pytest.raises(ValueError, match="not supported yet"):
            load_model(name)


def test_a_checkpoint_of_any_ending_by_its_name(tiny, monkeypatch):
    sam, config, folder = tiny
    write_checkpoint(folder / "mine.safetensors", sam, config)
    torch.save(sam.state_dict(), folder / "mine.ckpt")
    monkeypatch.chdir(folder)
    assert load_model("mine.ckpt").name == "mine"
