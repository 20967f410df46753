"""``train`` on small files: a run, Ctrl-C and the way on, and what is refused."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.training.runs import labelled, random_file
from typer.testing import CliRunner

from napari_segment_anything import load_model
from napari_segment_anything.cli import training
from napari_segment_anything.cli.main import app
from napari_segment_anything.training.learner import Learner
from napari_segment_anything.training.settings import FitSettings

OPTIONS = {
    "steps": 4,
    "crop-px": 64,
    "objects-per-crop": 2,
    "cached-crops": 2,
    "validate-every": 2,
    "learning-rate": 0.01,
    "device": "cpu",
    "precision": "fp32",
}
RUN = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def call():
    def run(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return run


@pytest.fixture
def folders(tmp_path):
    """Images and labels of six pictures, in a folder each."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for i, one in enumerate(labelled(6)):
        Image.fromarray((one.pixels // 9).astype(np.uint8)).save(images / f"{i}.png")
        tifffile.imwrite(labels / f"{i}_labels.tif", one.labels)
    return images, labels


def test_a_run_leaves_checkpoints_and_says_how_good_they_are(call, folders, tmp_path):
    images, labels = folders
    out = tmp_path / "runs" / "x"
    model = random_file(tmp_path, "vit")
    result = call("train", images, "--labels", labels, "--model", model, "-o", out, *RUN)
    assert result.exit_code == 0, result.output
    assert "5 images, validated on 1 others" in result.stderr
    steps = [line for line in result.stderr.splitlines() if line.startswith("step ")]
    assert [line.split(":")[0] for line in steps] == ["step 0", "step 2", "step 4"]
    lines = result.stdout.splitlines()
    assert lines[1].split()[:3] == ["start", "step", "0"]
    assert lines[2].split()[0] == "best" and f"-> {out / 'best.safetensors'}" in lines[3]
    assert lines[4] == f"for segment_anything and micro-sam -> {out / 'model.pth'}"
    card = json.loads((out / "run.json").read_text())
    assert card["train images"] == 5 and card["settings"]["learning_rate"] == 0.01
    assert load_model(out / "last.safetensors", "cpu").name == "last"


def test_nano_s_kind_is_said_to_be_readable_here_only(call, folders, tmp_path):
    images, labels = folders
    model = random_file(tmp_path, "conv")
    result = call("train", images, "--labels", labels, "--model", model, "-o", tmp_path / "x", *RUN)
    assert "no other tool can read a model of nano's kind" in result.stdout


def test_ctrl_c_saves_and_the_same_command_goes_on(call, folders, tmp_path, monkeypatch):
    images, labels = folders
    command = ["train", images, "--labels", labels, "--model", random_file(tmp_path, "conv"), *RUN]
    whole = call(*command, "-o", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    update = Learner._update

    def pressed(learner, batches):
        numbers = update(learner, batches)
        if learner.step == 3:
            signal.raise_signal(signal.SIGINT)
        return numbers

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Learner, "_update", pressed)
    stopped = call(*command, "-o", tmp_path / "stopped")
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.undo()
    again = call(*command, "-o", tmp_path / "stopped")
    assert again.exit_code == 0
    assert again.stdout.replace("stopped", "whole") == whole.stdout
    ends = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert ends[0][-1000:] == ends[1][-1000:]


def test_other_settings_in_the_same_folder_are_refused(call, folders, tmp_path):
    images, labels = folders
    command = ["train", images, "--labels", labels, "--model", random_file(tmp_path, "conv")]
    command += ["-o", tmp_path / "x", *RUN]
    assert call(*command).exit_code == 0
    other = call(*command, "--seed", "4")
    assert other.exit_code == 2 and "seed was 0, is 4" in other.stderr
    assert "another folder" in other.stderr


def test_validation_images_can_be_given(call, folders, tmp_path):
    images, labels = folders
    given = ("--val", images, "--val-labels", labels)
    model = random_file(tmp_path, "conv")
    command = ["train", images, "--labels", labels, "--model", model, "-o", tmp_path / "x", *RUN]
    result = call(*command, *given)
    assert "6 images, validated on 6 others" in result.stderr


def test_few_images_are_validated_on_themselves():
    kept, asked = training.parted(list("abcd"))
    assert kept == list("abcd") and asked == []
    kept, asked = training.parted(list("abcdefghijk"))
    assert kept == list("abcdfghik") and asked == ["e", "j"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "vit_x"), "Expected a model out of nano, vit_b"),
        (("--what", "lora"), "has none; train its decoder"),
        (("--device", "gpu"), "Expected a device out of auto, cpu"),
        (("--labels", "nowhere"), "Expected a folder nowhere, found none"),
        (("--steps", "0"), "--steps"),
    ],
)
def test_what_cannot_begin_says_why(call, folders, tmp_path, options, said):
    images, labels = folders
    model = random_file(tmp_path, "conv")
    command = ("train", images, "--labels", labels, "--model", model, "-o", tmp_path / "x")
    result = call(*command, *RUN, *options)
    assert result.exit_code == 2 and said in result.stderr
    assert not (tmp_path / "x").exists()


def test_every_setting_is_an_option(call):
    options = call("train", "--help").output
    for name in FitSettings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in options
