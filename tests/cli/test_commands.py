"""The commands on real small files, with the built-in model."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tests.pictures import disks, iou
from typer.testing import CliRunner

import napari_segment_anything
from napari_segment_anything import AutoMaskSettings
from napari_segment_anything.cli import segmenting
from napari_segment_anything.cli.main import app
from napari_segment_anything.config import AUTO_MASK_MODES
from napari_segment_anything.io import writing
from napari_segment_anything.modeling.sizes import build_sam, small_vit_config
from napari_segment_anything.modeling.unetr import UnetrDecoder
from napari_segment_anything.zoo import registry
from napari_segment_anything.zoo.checkpoint import write_checkpoint

SPOTS = [(30, 30, 10), (30, 100, 14), (90, 60, 12), (95, 125, 9)]
RUN = ("--device", "cpu", "--precision", "fp32", "--points-per-side", "8")


@pytest.fixture
def call(tmp_path):
    """Run a command; images are given by name and written by ``put``."""

    def run(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return run


@pytest.fixture
def put(tmp_path):
    def write(name, array):
        path = tmp_path / name
        if path.suffix == ".tif":
            tifffile.imwrite(path, array)
        else:
            Image.fromarray(array).save(path)
        return path

    return write


@pytest.fixture
def image():
    return disks((128, 160), SPOTS)


def matches(labels, truth):
    for label in range(1, len(SPOTS) + 1):
        inside = labels[truth == label]
        best = np.bincount(inside[inside > 0], minlength=1).argmax()
        assert best > 0 and iou(labels == best, truth == label) > 0.7
    return True


def test_files_of_all_kinds_become_labels(call, put, image, tmp_path):
    pixels, truth = image
    colour = np.stack([pixels] * 3, axis=-1)
    given = [
        put("grey.png", pixels),
        put("sixteen.tif", pixels.astype(np.uint16) * 11),
        put("colour.jpg", colour),
        put("float.tif", pixels.astype(np.float32) / 7),
        put("colour_too.tif", colour),
    ]
    with Image.open(given[0]) as opened:
        opened.convert("P").save(tmp_path / "palette.png")
    given.append(tmp_path / "palette.png")
    out = tmp_path / "new" / "out"
    result = call("segment", *given, "-o", out, *RUN)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{p.stem}_labels.tif" for p in given)
    for path in out.iterdir():
        labels = tifffile.imread(path)
        assert labels.dtype == np.int32 and labels.shape == truth.shape
        assert matches(labels, truth)
    lines = result.stdout.splitlines()
    count = tifffile.imread(out / "grey_labels.tif").max()
    assert len(lines) == len(given) and lines[0].startswith(f"{given[0]}: {count} objects in ")
    assert "nano on cpu · fp32: as asked" in result.stderr


def test_bad_images_are_told_and_the_others_are_done(call, put, image, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing of the kind")
    (tmp_path / "worse.tif").write_bytes(b"II*\0 nor this")
    stack = put("stack.tif", np.zeros((5, 6, 7, 8), np.uint8))
    good = put("good.png", image[0])
    bad = [tmp_path / "bad.png", tmp_path / "worse.tif", tmp_path / "none.png", stack]
    result = call("segment", *bad, good, "-o", tmp_path / "out", *RUN)
    assert result.exit_code == 1
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good_labels.tif"]
    told = [line for line in result.stderr.splitlines() if not line.startswith("nano on")]
    assert len(told) == len(bad)
    for path, line in zip(bad, told, strict=True):
        assert line.startswith(f"{path}: Expected ")
    assert "found no such file" in told[2] and "(5, 6, 7, 8)" in told[3]


def test_labels_are_replaced_only_if_allowed(call, put, image, tmp_path):
    path, target = put("a.png", image[0]), tmp_path / "a_labels.tif"
    target.write_bytes(b"mine")
    refused = call("segment", path, "-o", tmp_path, *RUN)
    assert refused.exit_code == 1 and target.read_bytes() == b"mine"
    assert "allow --overwrite" in refused.stderr
    assert call("segment", path, "-o", tmp_path, "--overwrite", *RUN).exit_code == 0
    assert matches(tifffile.imread(target), image[1])


def test_settings_reach_the_model(call, put, image, tmp_path):
    path = put("a.png", image[0])
    strict = ("--pred-iou-thresh", "1.0")
    assert call("segment", path, "-o", tmp_path, *RUN, *strict).exit_code == 0
    assert tifffile.imread(tmp_path / "a_labels.tif").max() == 0
    options = call("segment", "--help").output
    for name in AutoMaskSettings.names():
        assert f"--{name.replace('_', '-')}" in options
    beyond = call("segment", path, "-o", tmp_path, "--box-nms-thresh", "2")
    assert beyond.exit_code == 2 and "'--box-nms-thresh'" in beyond.stderr


def test_the_mode_is_one_of_a_few_words(call, put, image, tmp_path):
    path = put("a.png", image[0])
    assert call("segment", path, "-o", tmp_path, *RUN, "--mode", "prompts").exit_code == 0
    assert matches(tifffile.imread(tmp_path / "a_labels.tif"), image[1])
    wrong = call("segment", path, "-o", tmp_path, "--overwrite", *RUN, "--mode", "watershed")
    assert wrong.exit_code == 2 and "'--mode'" in wrong.stderr
    assert all(word in wrong.stderr for word in AUTO_MASK_MODES)


def test_a_model_with_a_decoder_draws(call, put, image, tmp_path):
    torch.manual_seed(0)
    config, decoder = small_vit_config(), UnetrDecoder(32, 4)
    decoder.out_conv.weight.data.zero_()
    decoder.out_conv.bias.data = torch.tensor([3.0, -3.0, -3.0])  # all of it one object
    write_checkpoint(
        tmp_path / "m.safetensors", build_sam(config), config, automatic_decoder=decoder
    )
    options = ("--model", tmp_path / "m.safetensors", "-o", tmp_path)
    path = put("a.png", image[0])
    assert call("segment", path, *options).exit_code == 0
    assert (tifffile.imread(tmp_path / "a_labels.tif") == 1).all()
    strict = ("--overwrite", "--mode", "decoder", "--foreground-threshold", "0.96")
    assert call("segment", path, *options, *strict).exit_code == 0
    assert not tifffile.imread(tmp_path / "a_labels.tif").any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "vit_x"), "Expected a model out of nano, vit_b"),
        (("--model", "none.pth"), "none.pth"),
        (("--device", "gpu"), "Expected a device out of auto, cpu"),
        (("--precision", "int8"), "Expected a precision out of auto, fp32"),
        (("--mode", "decoder"), "Expected a mode out of auto, prompts, grid for 'nano'"),
    ],
)
def test_what_cannot_begin_says_why_in_one_line(call, put, image, tmp_path, options, said):
    result = call("segment", put("a.png", image[0]), "-o", tmp_path / "out", *options)
    assert result.exit_code == 2 and said in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused(call, put, image, tmp_path):
    paths = put("a.png", image[0]), put("a.tif", image[0])
    result = call("segment", *paths, "-o", tmp_path / "out", *RUN)
    assert result.exit_code == 2 and "different names" in result.stderr


def test_an_interruption_leaves_no_partial_file(call, put, image, tmp_path, monkeypatch):
    def interrupted(stream, labels, **options):
        stream.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.tifffile, "imwrite", interrupted)
    result = call("segment", put("a.png", image[0]), "-o", tmp_path / "out", *RUN)
    assert result.exit_code != 0
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_that_runs_out_is_told_and_the_others_are_done(
    call, put, image, tmp_path, monkeypatch
):
    first, second = put("a.png", image[0]), put("b.png", image[0])
    run = segmenting.Engine._answer

    def small(engine, work, progress):
        if work.view.version == 1:
            raise MemoryError
        return run(engine, work, progress)

    monkeypatch.setattr(segmenting.Engine, "_answer", small)
    result = call("segment", first, second, "-o", tmp_path / "out", *RUN)
    assert result.exit_code == 1 and "on 128 x 160 pixels" in result.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b_labels.tif"]


def test_models_are_listed(call):
    lines = call("models").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "LICENCE", "ON", "DISK"]
    assert [line.split()[0] for line in lines[1:]] == list(registry.names())
    assert lines[1].split() == ["nano", "8", "MB", "BSD-3-Clause", "yes"]


def test_version_and_info(call):
    assert call("--version").stdout.strip() == napari_segment_anything.__version__
    told = call("info", "--device", "cpu", "--precision", "bf16").stdout
    assert "cpu · bf16: as asked" in told and "threads" in told
    assert call("info", "--device", "gpu").exit_code == 2
