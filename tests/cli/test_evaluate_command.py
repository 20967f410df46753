"""``evaluate`` on tiny drawn images, with the built-in model."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import tifffile
from tests.pictures import disks
from typer.testing import CliRunner

from napari_segment_anything.cli.main import app
from napari_segment_anything.evaluation import plot

RUN = ("--device", "cpu", "--precision", "fp32", "--clicks", "2")
SPOTS = {"a": [(20, 20, 9)], "b": [(16, 40, 8), (40, 18, 10)]}


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for name, spots in SPOTS.items():
        pixels, labels = disks((64, 64), spots)
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", pixels)
        tifffile.imwrite(tmp_path / "labels" / f"{name}.tif", (labels * 70_000).astype(np.uint32))
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(app, ["evaluate", *RUN, *map(str, arguments)])


def test_the_built_in_model_on_two_images(folder):
    target, picture = folder / "scores.json", folder / "scores.png"
    options = ("--json", target, "--plot", picture)
    result = call(folder, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"nano on {folder.name}, 2 images\n")
    data = json.loads(target.read_text())
    prompts, whole = data["scores"]["prompts"], data["scores"]["whole"]
    assert prompts["objects"] == 3 and len(prompts["click_iou"]) == len(prompts["box_iou"]) == 2
    assert min(prompts["click_iou"] + prompts["box_iou"]) > 0.7
    assert prompts["noc"]["0.85"] <= 2 and prompts["calibration"]["mean_error"] < 0.4
    assert (whole["true"], whole["matched"]) == (3, 3) and whole["sbd"] > 0.6
    assert [image["name"] for image in data["images"]] == ["a", "b"]
    assert data["about"]["model"] == "nano" and data["about"]["left out"] == []
    assert f"{prompts['click_iou'][0]:.3f}" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in folder.iterdir()) == [
        "images",
        "labels",
        "scores.json",
        "scores.png",
    ]


def test_a_bad_image_is_told_and_the_others_count(folder):
    tifffile.imwrite(folder / "labels" / "a.tif", np.zeros((5, 5), np.uint8))
    target = folder / "scores.json"
    result = call(folder, "--no-auto", "--json", target)
    assert result.exit_code == 1
    told = result.stderr.splitlines()[1]
    assert told.startswith(f"{folder / 'images' / 'a.tif'}: Expected labels of the size of")
    data = json.loads(target.read_text())
    assert data["about"]["left out"] == ["a"] and data["scores"]["images"] == 1
    assert data["scores"]["whole"] is None and data["scores"]["prompts"]["objects"] == 2


def test_images_without_objects_and_a_limit(folder):
    tifffile.imwrite(folder / "labels" / "a.tif", np.zeros((64, 64), np.uint8))
    result = call(folder, "--limit", "1", "--no-auto")
    assert result.exit_code == 0 and "1 images\n\nNo objects" in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--labels", "none"), "Expected a folder none"),
        (("--split", "val"), "split.csv"),
        (("--model", "vit_x"), "Expected a model out of nano"),
        (("--json", "no/such/folder/a.json"), "in a folder that is there"),
        (("--plot", "a.txt"), ".png"),
        (("--device", "gpu"), "Expected a device"),
    ],
)
def test_what_cannot_begin_says_why_in_one_line(folder, options, said):
    if options[0] == "--plot":
        pytest.importorskip("matplotlib")
    result = call(folder, *options)
    assert result.exit_code == 2 and said in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not result.stdout


def test_matplotlib_is_needed_for_a_plot_alone(folder, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    refused = call(folder, "--plot", folder / "a.png")
    assert refused.exit_code == 2 and "Expected matplotlib for a plot" in refused.stderr
    assert call(folder, "--no-auto", "--limit", "1").exit_code == 0


def test_an_interruption_leaves_no_partial_file(folder, monkeypatch):
    pytest.importorskip("matplotlib")

    def interrupted(path, *_):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(plot, "write_plot", interrupted)
    result = call(folder, "--no-auto", "--limit", "1", "--plot", folder / "a.png")
    assert result.exit_code != 0
    assert sorted(p.name for p in folder.iterdir()) == ["images", "labels"]
