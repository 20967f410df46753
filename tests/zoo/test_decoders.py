"""Decoders of automatic segmentation: in a model's file, beside it, and in the registry."""

from __future__ import annotations

import re
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_segment_anything import load_model
from napari_segment_anything.modeling.sizes import build_sam, small_vit_config
from napari_segment_anything.modeling.unetr import UnetrDecoder
from napari_segment_anything.zoo import checkpoint as module
from napari_segment_anything.zoo import download, registry
from napari_segment_anything.zoo.checkpoint import (
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)

CONFIG = small_vit_config()
KINDS = pytest.mark.parametrize("transposed", [False, True])


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    """A tiny model counts as an official size."""
    monkeypatch.setattr(module, "BY_WIDTH", {32: CONFIG})


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam(CONFIG).eval()


def decoder(transposed=False, in_chans=32):
    torch.manual_seed(1)
    return UnetrDecoder(in_chans, 4, transposed=transposed).eval()


def assert_same(loaded, wanted):
    assert loaded is not None and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    state = wanted.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype)), name


@KINDS
def test_in_one_file_with_its_model(sam, tmp_path, transposed):
    made = decoder(transposed)
    prefixed = OrderedDict((f"sam.{k}", v) for k, v in sam.state_dict().items())
    state = OrderedDict(made.state_dict())
    torch.save({"model_state": prefixed, "decoder_state": state}, tmp_path / "a.pt")
    model = load_model(tmp_path / "a.pt", device="cpu", precision="fp32")
    assert_same(model.automatic_decoder, made)
    assert model.modes[1] == "decoder"
    x = torch.randn(1, 32, 3, 3)
    with torch.no_grad():
        assert torch.equal(model.automatic_decoder(x), made(x))


@KINDS
@pytest.mark.parametrize("ending", [".pt", ""])
def test_in_a_file_beside_its_model(sam, tmp_path, transposed, ending):
    made = decoder(transposed)
    torch.save(sam.state_dict(), tmp_path / f"vit_x{ending}")
    assert load_model(tmp_path / f"vit_x{ending}").automatic_decoder is None
    encoder = {"encoder.weight": torch.ones(2)}  # of a whole UNETR
    torch.save({**encoder, **made.state_dict()}, tmp_path / f"vit_x_decoder{ending}")
    model = load_model(tmp_path / f"vit_x{ending}", device="cpu", precision="fp32")
    assert_same(model.automatic_decoder, made)
    digest = module.file_digest(tmp_path / f"vit_x{ending}")
    assert model.digest == digest  # embeddings are the model's, with or without a decoder


@KINDS
@pytest.mark.parametrize("half", [False, True])
def test_our_own_files_keep_it(sam, tmp_path, transposed, half):
    made = decoder(transposed)
    path = tmp_path / "own.safetensors"
    write_checkpoint(path, sam, CONFIG, half=half, automatic_decoder=made)
    names = [name for name in load_file(path) if name.startswith(module.DECODER_PREFIX)]
    assert len(names) == len(made.state_dict())
    model = load_model(path, device="cpu", precision="fp32")
    wanted = made.half().float() if half else made
    assert_same(model.automatic_decoder, wanted)
    assert model.sam.state_dict().keys() == sam.state_dict().keys()
    again = tmp_path / "again.safetensors"
    write_checkpoint(again, model.sam, CONFIG, automatic_decoder=model.automatic_decoder)
    assert_same(load_model(again, precision="fp32").automatic_decoder, wanted)
    write_checkpoint(path, sam, CONFIG)
    assert read_checkpoint(path).decoder_state is None


def test_a_decoder_file_of_our_own_kind(sam, tmp_path):
    made = decoder()
    torch.save(sam.state_dict(), tmp_path / "a.pt")
    save_file(made.state_dict(), tmp_path / "a_decoder.safetensors")
    assert load_model(tmp_path / "a.pt").automatic_decoder is None  # another ending
    state = module.read_decoder(tmp_path / "a_decoder.safetensors", CONFIG)
    assert state.keys() == made.state_dict().keys()


def test_it_computes_as_precisely_as_the_encoder(sam, tmp_path):
    write_checkpoint(tmp_path / "a.safetensors", sam, CONFIG, automatic_decoder=decoder())
    model = load_model(tmp_path / "a.safetensors", device="cpu", precision="bf16")
    kinds = {p.dtype for p in model.automatic_decoder.parameters()}
    assert kinds == {torch.bfloat16} == {model.dtype}
    with torch.inference_mode():
        maps = model.automatic_decoder(torch.randn(1, 32, 2, 2, dtype=torch.bfloat16))
    assert maps.dtype == torch.float32 and bool(((maps >= 0) & (maps <= 1)).all())


def test_what_is_no_decoder_of_this_model(sam, tmp_path):
    good = decoder().state_dict()
    key = "deconv2.block.1.block.weight"
    for state, message in (
        ({**good, key: good[key][:1]}, rf"{key} of shape \(16, 16, 3, 3\), found \(1, 16"),
        ({k: v for k, v in good.items() if k != key}, rf"1 missing .*{key}"),
        ({**good, "more": torch.ones(1)}, "1 unknown .*more"),
        ({**good, key: torch.full_like(good[key], torch.nan)}, f"NaN or inf in {key}"),
        ({**good, key: good[key].to_sparse()}, f"plain .*{key}"),
        ({"a": torch.ones(1)}, "a decoder|an automatic-segmentation decoder"),
        ({"out_conv.weight": torch.ones(3), "base.block.1.weight": torch.ones(1)}, "expected"),
        (decoder(in_chans=16).state_dict(), "with 32 channels, found one for 16"),
        ({"a": 3}, r"tensors by name, found \['a'\]"),
        ([1], "tensors by name, found list"),
    ):
        path = tmp_path / "a.pt"
        torch.save({"model_state": sam.state_dict(), "decoder_state": state}, path)
        with pytest.raises(CheckpointError, match=message) as error:
            load_model(path)
        assert str(path) in str(error.value)


def test_a_damaged_file_beside_a_model_is_told(sam, tmp_path):
    torch.save(sam.state_dict(), tmp_path / "a.pt")
    (tmp_path / "a_decoder.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError, match=r"a_decoder\.pt.*truncated"):
        load_model(tmp_path / "a.pt")


def test_every_decoder_of_micro_sam_is_known():
    with_decoder = {e.name for e in registry.entries() if e.decoder is not None}
    official = {"nano", "vit_b", "vit_l", "vit_h", "vit_t"}
    assert with_decoder == set(registry.names()) - official and len(with_decoder) == 10
    files = [e.decoder for e in registry.entries() if e.decoder is not None]
    for one, entry in zip(files, (e for e in registry.entries() if e.decoder), strict=True):
        assert one.name == f"{entry.name}_decoder" and one.name not in registry.names()
        assert one.url.startswith("https://") and re.fullmatch("[0-9a-f]{32}", one.xxh128)
        if entry.url.endswith(".pt"):
            assert one.url == entry.url.removesuffix(".pt") + "_decoder.pt"
        assert entry.download_mb == entry.size_mb + 40
    everything = [*files, *registry.entries()]
    for field in ("url", "xxh128", "name"):
        values = [v for e in everything if (v := getattr(e, field))]
        assert len(set(values)) == len(values), field


def test_a_decoder_is_found_where_micro_sam_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "own"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    wanted = registry.entry("vit_b_lm").decoder
    path = tmp_path / "models" / "vit_b_lm_decoder"
    path.parent.mkdir()
    path.write_bytes(b"of another hash")
    assert download.is_present(wanted) and download.find_local(wanted) is None
    assert download.cached_path(wanted).name == "vit_b_lm_decoder.pth"


@pytest.fixture
def shelf(sam, tmp_path, monkeypatch):
    """`vit_b_lm` in a cache, its decoder only where it is fetched to; what has been fetched."""
    fetched = []
    torch.save(sam.state_dict(), tmp_path / "vit_b_lm.pth")

    def find(entry):
        path = tmp_path / f"{entry.name}.pth"
        return path if path.is_file() else None

    def fetch(entry, progress=None):
        fetched.append(entry.name)
        torch.save(decoder().state_dict(), tmp_path / f"{entry.name}.pth")
        return tmp_path / f"{entry.name}.pth"

    monkeypatch.setattr(download, "find_local", find)
    monkeypatch.setattr(download, "fetch", fetch)
    return fetched


def test_a_decoder_comes_along_with_its_model(shelf):
    assert_same(load_model("vit_b_lm", precision="fp32").automatic_decoder, decoder())
    assert shelf == ["vit_b_lm_decoder"]
    load_model("vit_b_lm")
    assert shelf == ["vit_b_lm_decoder"]


def test_without_its_decoder_a_model_still_answers_clicks(shelf, monkeypatch):
    def offline(entry, progress=None):
        raise download.DownloadError("no connection")

    monkeypatch.setattr(download, "fetch", offline)
    with pytest.warns(UserWarning, match=r"vit_b_lm is loaded without its decoder.*no connection"):
        model = load_model("vit_b_lm")
    assert model.automatic_decoder is None and model.modes == ("auto", "grid")


def test_cancelling_a_decoders_download_cancels(shelf, monkeypatch):
    def cancelled(entry, progress=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "fetch", cancelled)
    with pytest.raises(KeyboardInterrupt):
        load_model("vit_b_lm")
