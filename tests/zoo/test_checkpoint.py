from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_segment_anything import encode, load_model, predict
from napari_segment_anything.modeling.sizes import (
    NANO,
    VIT_T,
    SamConfig,
    build_sam,
    small_vit_config,
    small_vit_t_config,
)
from napari_segment_anything.modeling.unetr import UnetrDecoder
from napari_segment_anything.sam import sam_model_registry
from napari_segment_anything.zoo import checkpoint as module
from napari_segment_anything.zoo import download
from napari_segment_anything.zoo.checkpoint import (
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A tiny model that counts as an official size, so that files stay small."""
    config = small_vit_config()
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
    assert_same(load_model(folder / "b.pt", precision="fp32").sam.state_dict(), sam)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("small", [small_vit_config, small_vit_t_config])
def test_our_own_files_carry_their_configuration(tmp_path, half, small):
    config = SamConfig(small(64).encoder, prompt_embed_dim=48, decoder_heads=4)
    torch.manual_seed(1)
    sam = build_sam(config).eval()
    path = tmp_path / "own.safetensors"
    write_checkpoint(path, sam, config, {"card": '{"description": "d"}'}, half=half)
    model = load_model(path, precision="fp32")
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


@pytest.fixture(scope="module")
def mobile_sam():
    torch.manual_seed(2)
    return build_sam(VIT_T)


def test_mobile_sam(mobile_sam, tmp_path, monkeypatch):
    state = mobile_sam.state_dict()
    official = tmp_path / "mobile_sam.pt"
    torch.save(state, official)
    read = read_checkpoint(official)
    assert_same(read.state_dict, mobile_sam)
    assert read.config == VIT_T
    assert_same(load_model(official, precision="fp32").sam.state_dict(), mobile_sam)
    assert_same(sam_model_registry["vit_t"](checkpoint=official).state_dict(), mobile_sam)
    with pytest.raises(CheckpointError, match="expected weights of vit_b"):
        sam_model_registry["vit_b"](checkpoint=official)

    prefixed = {f"sam.{k}": v for k, v in state.items()}
    torch.save({"model_state": prefixed, "decoder_state": {}}, tmp_path / "vit_t_lm.pt")
    torch.save(UnetrDecoder().state_dict(), tmp_path / "vit_t_lm_decoder.pt")
    monkeypatch.setattr(download, "find_local", lambda entry: tmp_path / f"{entry.name}.pt")
    model = load_model("vit_t_lm", precision="fp32")
    assert model.name == "vit_t_lm" and model.automatic_decoder is not None
    assert_same(model.sam.state_dict(), mobile_sam)


def test_tampered_mobile_sam(mobile_sam, tmp_path):
    good = mobile_sam.state_dict()
    head, biases = (
        "image_encoder.head.weight",
        "image_encoder.layers.2.blocks.5.attn.attention_biases",
    )
    variance = "image_encoder.layers.0.blocks.0.conv1.bn.running_var"
    path = tmp_path / "mobile_sam.pt"
    for state, message in (
        ({k: v for k, v in good.items() if k != head}, rf"1 missing .*{head}"),
        ({**good, "image_encoder.ab": torch.zeros(1)}, r"1 unknown .*image_encoder\.ab"),
        ({**good, biases: torch.zeros(5, 49)}, r"attention_biases of shape \(5, 196\), found"),
        ({**good, variance: torch.full((256,), torch.inf)}, "found NaN or inf in .*running_var"),
        ({**good, head: good[head].to_sparse()}, "plain floating-point weights, found .*head"),
        ({module.TINY_VIT_KEY: torch.zeros(48, 3, 3, 3)}, "438 missing"),
    ):
        torch.save(state, path)
        with pytest.raises(CheckpointError, match=message) as error:
            read_checkpoint(path)
        assert str(path) in str(error.value)
    torch.save(good, path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match="truncated"):
        read_checkpoint(path)


def test_registry_refuses_another_size(tiny):
    sam, _, folder = tiny
    torch.save(sam.state_dict(), folder / "tiny.pth")
    with pytest.raises(CheckpointError, match="vit_b"):
        sam_model_registry["vit_b"](checkpoint=folder / "tiny.pth")


def test_configurations_survive_json():
    for config in (NANO, VIT_T, small_vit_t_config(), small_vit_config(), SamConfig()):
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
    refuse_changed(NANO, change, what)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"encoder_kind": "tiny"}, "configuration"),
        ({"encoder.depths": [2, 2, 6]}, "four numbers from 1 for depths"),
        ({"encoder.depths": [2, 2, 60000, 2]}, "blocks"),
        ({"encoder.num_heads": [2, 0, 5, 10]}, "num_heads"),
        ({"encoder.num_heads": [2, 4, 7, 10]}, "multiples"),
        ({"encoder.window_sizes": [7, 7, 4000, 7]}, "window_sizes"),
        ({"encoder.window_sizes": [7, 7.5, 14, 7]}, "window_sizes"),
        ({"encoder.img_size": 1000}, "img_size"),
        ({"encoder.img_size": 65536}, "img_size"),
        ({"encoder.window_size": 7}, "window_size"),
    ],
)
def test_stages_that_no_tiny_vit_has(change, what):
    refuse_changed(VIT_T, change, what)


def refuse_changed(config, change, what):
    raw = json.loads(config.to_json())
    for name, value in change.items():
        part, _, key = name.rpartition(".")
        (raw[part] if part else raw)[key] = value
    with pytest.raises(ValueError, match=what):
        SamConfig.from_json(json.dumps(raw))


def test_bottomless_json_is_refused(tmp_path):
    deep = "[" * 100_000
    with pytest.raises(ValueError, match="Expected a model configuration"):
        SamConfig.from_json(deep)
    config = small_vit_config()
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


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="found a folder"):
        load_model(tmp_path)


def test_a_checkpoint_of_any_ending_by_its_name(tiny, monkeypatch):
    sam, config, folder = tiny
    write_checkpoint(folder / "mine.safetensors", sam, config)
    torch.save(sam.state_dict(), folder / "mine.ckpt")
    monkeypatch.chdir(folder)
    assert load_model("mine.ckpt").name == "mine"
