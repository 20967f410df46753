"""The training process' work, in this one, with stand-ins for model and training."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.improving.test_split import squares

from napari_segment_anything.improving.child import improve, part_with_objects, read_folder
from napari_segment_anything.improving.job import NEWS, Job
from napari_segment_anything.improving.tools import Step, Stopped


class FakeTools:
    """A model's scores are in its name: ``0.5``; training makes ``0.9`` in three steps."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.trained_on: list[str] = []
        self.stop_at: tuple[int, threading.Event] | None = None

    def scores(self, model, device, images, progress):
        progress(0, len(images))
        count = sum(len(np.unique(image.labels)) - 1 for image in images)
        return [float(Path(model).name)] * count

    def fit(self, model, train, held_out, folder, settings, progress):
        if self.error is not None:
            raise self.error
        self.trained_on = [image.name for image in train]
        self.settings = dict(settings)
        folder.mkdir()
        best = folder / "0.9"
        picture = np.full((*held_out[0].labels.shape, 3), 200, np.uint8)
        try:
            progress(Step(0, 3, None, 0.5, picture))
            for step in (1, 2, 3):
                if self.stop_at is not None and self.stop_at[0] == step:
                    self.stop_at[1].set()
                best.touch()
                progress(Step(step, 3, 1.0 / step, 0.8 if step == 3 else None))
        except Stopped:
            return best if best.exists() else None
        return best


def reports(folder):
    return [json.loads(line) for line in (folder / NEWS).read_text().splitlines()]


def run(tmp_path, tools, job=None, stop=None):
    (job or Job("0.5", ((squares(10),),), (), {"device": "cpu", "steps": 3})).write(tmp_path)
    improve(tmp_path, tools, stop or threading.Event())
    return reports(tmp_path)


def test_a_job_comes_back_as_it_was_written(tmp_path):
    image = squares(6, "µ m")
    job = Job("vit_b", ((image,), ()), (Path("/data/ä"),), {"what": "lora", "steps": 5})
    job.write(tmp_path)
    back = Job.read(tmp_path)
    assert (back.model, back.folders, back.settings) == (job.model, job.folders, job.settings)
    (found,), none = back.sources
    assert found.name == "µ m" and not none
    assert found.pixels.dtype == np.uint16 and np.array_equal(found.pixels, image.pixels)
    assert found.labels.dtype == np.int32 and np.array_equal(found.labels, image.labels)


def test_reports_from_the_split_to_the_result(tmp_path):
    tools = FakeTools()
    said = run(tmp_path, tools)
    assert [r["kind"] for r in said if r["kind"] != "judging"][:2] == ["split", "step"]
    assert said[0] == {"kind": "split", "train": 8, "held_out": 2}
    steps = [r for r in said if r["kind"] == "step"]
    assert steps[0]["score"] == 0.5 and steps[0]["loss"] is None
    assert (steps[-1]["step"], steps[-1]["loss"], steps[-1]["score"]) == (3, 1 / 3, 0.8)
    result = {"best": str(tmp_path / "fit" / "0.9"), "before": [0.5] * 2, "after": [0.9] * 2}
    assert said[-1] == {"kind": "result", **result}
    assert tools.settings == {"device": "cpu", "steps": 3}
    assert np.asarray(Image.open(steps[0]["sample"])).mean() == 200


@pytest.mark.parametrize(("at", "best"), [(1, True), (0, False)])
def test_a_stop_keeps_the_best_so_far(tmp_path, at, best):
    tools, stop = FakeTools(), threading.Event()
    tools.stop_at = (at, stop) if at else None
    if not at:
        stop.set()
    result = run(tmp_path, tools, stop=stop)[-1]
    assert result["kind"] == "result" and (result["best"] is not None) == best
    assert result["after"] == ([0.9] * 2 if best else [])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("Expected an encoder with attention."), "Expected an encoder with attention."),
        (MemoryError(), "not enough memory"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_failures_are_told_in_words(tmp_path, error, words, capsys):
    said = run(tmp_path, FakeTools(error))[-1]
    assert said["kind"] == "failed" and words in said["why"]
    assert "Traceback" in capsys.readouterr().err  # for the log


def test_too_few_objects_are_told_before_anything_is_loaded(tmp_path):
    said = run(tmp_path, FakeTools(), Job("0.5", ((squares(4),),)))
    assert len(said) == 1 and "at least 5 labelled objects, got 4" in said[0]["why"]


def test_folders_are_learned_from_without_what_is_put_aside(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / "data" / part).mkdir(parents=True)
    names = [f"i{n}" for n in range(6)]
    for name in names:
        image = squares(2, name)
        for part, array in (("images", image.pixels), ("labels", image.labels)):
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / "data" / part / f"{name}.png")
    assert sorted(i.name for i in read_folder(tmp_path / "data")) == names
    rows = ["image,split", *(f"{n}.png,{'test' if n == 'i0' else 'train'}" for n in names)]
    (tmp_path / "data" / "split.csv").write_text("\n".join(rows))
    assert sorted(i.name for i in read_folder(tmp_path / "data")) == names[1:]
    tools, place = FakeTools(), tmp_path / "run"
    place.mkdir()
    run(place, tools, Job("0.5", (), (tmp_path / "data",)))
    assert tools.trained_on and "i0" not in tools.trained_on


def test_pictures_show_the_objects():
    labels = np.zeros((300, 1000), np.int32)
    labels[10:20, 900:910] = 1
    assert part_with_objects(labels, 256) == (slice(0, 256), slice(744, 1000))
    assert part_with_objects(labels[:, :950], 2000) == (slice(0, 2000), slice(0, 2000))
