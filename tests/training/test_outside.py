"""Precision by device, and what is drawn where the libraries for it are installed."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from PIL import Image
from tests.training.runs import labelled, quick, random_file

from napari_segment_anything.training import curves, precision
from napari_segment_anything.training.fit import fit
from napari_segment_anything.training.precision import pick_training_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch, bf16, capability):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


@pytest.mark.parametrize(
    ("bf16", "capability", "picked"),
    [(True, (9, 0), "bf16"), (False, (7, 5), "fp16"), (False, (6, 1), "fp32")],
)
def test_precision_follows_the_gpu(monkeypatch, bf16, capability, picked):
    pretend(monkeypatch, bf16, capability)
    assert pick_training_precision("auto", CUDA).name == picked
    assert pick_training_precision("fp32", CUDA).name == "fp32"


def test_precision_on_the_cpu(monkeypatch):
    monkeypatch.setattr(precision, "pick_precision", lambda name, device: _Picked(name))
    assert pick_training_precision("bf16", CPU).name == "bf16"
    with pytest.raises(ValueError, match="needs CUDA"):
        pick_training_precision("fp16", CPU)
    chosen = pick_training_precision("bf16", CPU)
    with chosen.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert not chosen.scaler().is_enabled()


class _Picked:
    def __init__(self, name):
        self.name = name


def test_a_bf16_run_learns(tmp_path):
    file = random_file(tmp_path, "vit")
    settings = quick(what="lora", precision="bf16", steps=1)
    result = fit(file, labelled(), folder=tmp_path / "run", settings=settings)
    assert all(0 < line["loss"] < 1e4 for line in result.history[1:])


NUMBERS = [{"step": i, "loss": 2.0 / (1 + i), "score": 0.5 + i / 40} for i in range(21)]


def test_curves(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curves.png"
    assert curves.write_curves(path, NUMBERS, "a run")
    with Image.open(path) as picture:
        assert picture.width > 500
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    assert curves.write_curves(path, [{"step": 0, "score": 0.1}], "a start")


def test_without_matplotlib_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    assert not curves.write_curves(tmp_path / "curves.png", NUMBERS, "a run")
    assert not list(tmp_path.iterdir())


def test_tensorboard_is_asked_for_in_vain(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    file = random_file(tmp_path, "conv")
    with pytest.raises(RuntimeError, match="Expected tensorboard"):
        fit(file, labelled(), folder=tmp_path / "run", settings=quick(tensorboard=True))
    assert not (tmp_path / "run").exists()


def test_tensorboard_is_told_numbers_and_pictures(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def add_image(self, name, picture, step, dataformats):
            written.append((name, picture.shape, step, dataformats))

        def close(self):
            written.append("closed")

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(curves, "find_spec", lambda name: None if name == "matplotlib" else True)
    file = random_file(tmp_path, "conv")
    settings = quick(tensorboard=True, steps=1)
    result = fit(file, labelled(), folder=tmp_path / "run", settings=settings)
    assert written[0] == str(tmp_path / "run" / "tensorboard") and written[-1] == "closed"
    assert ("validation/score", 0) in written and ("training/loss", 1) in written
    assert ("validation/sample", (48, 64, 3), 1, "HWC") in written
    identity = json.loads((result.best.parent / "run.json").read_text())
    assert "tensorboard" not in identity["settings"]  # changes nothing about the run
