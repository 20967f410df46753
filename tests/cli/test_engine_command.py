"""The data engine's commands on two drawn images, with the built-in model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.pictures import disks, iou
from typer.testing import CliRunner

from napari_segment_anything.cli.main import app

FIRST = [(20, 24, 9), (22, 70, 11), (64, 40, 10)]
SECOND = [(24, 60, 12), (66, 22, 9)]
SIZE = (88, 96)


def call(*arguments):
    return CliRunner().invoke(app, ["engine", *map(str, arguments)])


@pytest.fixture
def drawn(tmp_path):
    """Two images and their labels in a folder as `read_labelled` takes it."""
    folder = tmp_path / "drawn"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for name, spots in (("one", FIRST), ("two", SECOND)):
        pixels, labels = disks(SIZE, spots)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint8)).save(folder / "labels" / f"{name}.png")
    return folder


@pytest.fixture
def folder(drawn, tmp_path):
    folder = tmp_path / "project"
    images = sorted((drawn / "images").iterdir())
    result = call("init", folder, *images, "--held-out", drawn)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{folder}: 2 images, model nano\n"
    return folder


def test_a_person_works_through_files(folder, drawn):
    result = call("prefill", folder, "one", "--confident-iou", 0.7)
    assert result.exit_code == 0, result.output
    path = folder / "prefilled" / "one.tif"
    assert result.stdout == f"{path}\n"
    labels, true = tifffile.imread(path), disks(SIZE, FIRST)[1]
    kept = [k for k in (1, 2, 3) if np.max([iou(labels == i, true == k) for i in (1, 2, 3)]) > 0.7]
    assert len(kept) >= 2

    again = call("prefill", folder, "one")
    assert "one: waits already" in again.stderr and again.stdout == ""

    labels[-10:, -10:] = 50  # what a person paints
    tifffile.imwrite(path, labels)
    taken = call("take", folder, path, "--minutes", 0.5)
    count = len(np.unique(labels)) - 1
    assert taken.stdout == f"one: {count} objects, round 1\n", taken.output
    about = json.loads((folder / "annotations" / "one.json").read_text())
    assert about["stage"] == "semi-automatic" and about["effort"]["seconds"] == 30
    assert (tifffile.imread(folder / "annotations" / "one.tif") == labels).all()

    two = drawn / "two_labels.tif"
    tifffile.imwrite(two, disks(SIZE, SECOND)[1])
    assert call("take", folder, two).stdout == "two: 2 objects, round 1\n"
    refused = call("take", folder, two)
    assert refused.exit_code == 2 and "allow --overwrite" in refused.stderr
    assert call("take", folder, two, "--overwrite").exit_code == 0

    told = call("status", folder, "--json", folder / "report.json")
    assert told.stdout.startswith("round 1, model nano, 0 images wait\n"), told.output
    rows = json.loads((folder / "report.json").read_text())["rows"]
    assert [row["stage"] for row in rows] == ["assisted", "semi-automatic"]
    assert rows[1]["objects_per_minute"] == pytest.approx(2 * count)


def test_images_are_annotated_automatically(folder):
    result = call("auto", folder, "two", "--confident-iou", 0.7)
    assert result.exit_code == 0, result.output
    labels, true = tifffile.imread(folder / "annotations" / "two.tif"), disks(SIZE, SECOND)[1]
    for k in (1, 2):
        assert max(iou(labels == i, true == k) for i in np.unique(labels) if i) > 0.7
    assert "automatic" in result.stdout
    about = json.loads((folder / "annotations" / "two.json").read_text())
    assert about["maker"]["annotator"] == "nobody"
    assert all(0.7 < o["predicted_iou"] <= 1 for o in about["objects"])


def test_what_cannot_begin_says_why(folder, tmp_path, drawn):
    (drawn / "text.png").write_text("no image")
    for arguments, said in (
        (("status", tmp_path), "no project.json; begin one with `engine init`"),
        (("init", folder, "--model", "vit_b"), "Expected the model 'nano'"),
        (("init", folder, drawn / "text.png"), "could not read it"),
        (("take", folder, drawn / "labels" / "one.png", drawn / "none.png"), "found no such file"),
        (("train", folder, "--device", "gpu", "--steps", 3), "images annotated in round 1"),
        (("simulate", folder, "--data", drawn, "--rounds", 5), "Expected 42 labelled images"),
    ):
        result = call(*arguments)
        assert result.exit_code == 2 and said in result.stderr, result.output
        assert len(result.stderr.splitlines()) == 1


def test_simulation_runs_all_stages_and_goes_on(drawn, tmp_path):
    for part in ("images", "labels"):
        (drawn / part / "three.png").write_bytes((drawn / part / "one.png").read_bytes())
    folder, report = tmp_path / "run", tmp_path / "report.json"
    counts = ("--rounds", 1, "--images", 1, "--automatic", 1, "--held-out", 1)
    options = (
        "--steps",
        1,
        "--objects-per-crop",
        2,
        "--most-clicks",
        2,
        "--seconds-per-click",
        3,
        "--noise",
        0.1,
    )
    command = ("simulate", folder, "--data", drawn, *counts, *options, "--json", report)
    result = call(*command)
    assert result.exit_code == 0, result.output
    values = json.loads(report.read_text())
    assert [row["stage"] for row in values["rows"]] == ["assisted", "automatic"]
    first = values["rows"][0]
    assert first["effort"]["clicks"] >= first["objects"] >= 1
    glances, clicks = first["effort"]["glances"], first["effort"]["clicks"]
    paintings = first["effort"]["paintings"]
    assert first["effort"]["seconds"] == 3 * clicks + 0.5 * glances + 20 * paintings
    scores = values["held_out"]
    assert [s["round"] for s in scores] == [0, 1]
    assert all(0 < s["click_iou"] < 1 and 1 <= s["clicks"] <= 2 for s in scores)
    digests = [
        json.loads((folder / "rounds" / f"round-{n}.json").read_text())["model_digest"]
        for n in range(2)
    ]
    assert len(set(digests)) == 2
    files = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    assert call(*command).stdout == result.stdout
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == files
