"""The real training, of tiny models on drawn disks, as a training process does it."""

from __future__ import annotations

import threading
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from tests.improving.test_child import reports
from tests.training.runs import labelled, quick, random_file

from napari_segment_anything import load_model
from napari_segment_anything.evaluation.evaluate import Plan, evaluate_image
from napari_segment_anything.improving.child import improve
from napari_segment_anything.improving.improvement import Improvement, Phase
from napari_segment_anything.improving.job import Job
from napari_segment_anything.improving.process import TrainingProcess
from napari_segment_anything.improving.tools import PublicTools, Step, Stopped
from napari_segment_anything.improving.ways import ADAPTERS, ALL, DECODER, Machine, settings_for
from napari_segment_anything.training.learner import Learner
from napari_segment_anything.training.settings import FitSettings

IMAGES = tuple(labelled(4))


def settings(**changes):
    return asdict(quick(steps=2, validate_every=1, **changes))


@pytest.fixture(scope="module")
def conv(tmp_path_factory):
    return str(random_file(tmp_path_factory.mktemp("models"), "conv"))


def test_a_job_from_beginning_to_end(conv, tmp_path):
    Job(conv, (IMAGES,), (), settings()).write(tmp_path)
    improve(tmp_path, PublicTools(), threading.Event())
    said = reports(tmp_path)
    assert [r["kind"] for r in said if r["kind"] != "judging"] == ["split", *["step"] * 3, "result"]
    assert said[0]["train"] == 9 and said[0]["held_out"] == 3
    assert [r["score"] is not None for r in said if r["kind"] == "step"] == [True] * 3
    result = said[-1]
    assert len(result["before"]) == len(result["after"]) == 3
    plan = Plan(clicks=2, box_rounds=1, auto=False)
    found = evaluate_image(load_model(result["best"], "cpu"), IMAGES[-1], plan)
    again = [np.mean([*one.clicks, *one.box]) for one in found.objects]
    assert np.allclose(result["after"], again)


def test_a_stop_leaves_the_best_so_far(conv, tmp_path):
    told = []

    def watch(step: Step):
        told.append(step)
        if step.step == 1:
            raise Stopped

    best = PublicTools().fit(conv, IMAGES[:3], IMAGES[3:], tmp_path / "fit", settings(), watch)
    assert best is not None and load_model(best).digest and len(told) == 2
    assert told[0].loss is None and told[1].loss > 0
    assert told[0].sample.shape == (48, 64, 3)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_where_labels_are_missing_nothing_is_called_background(conv, tmp_path, weight, monkeypatch):
    asked = []
    begin = Learner._groups

    def groups(self, *given):
        found = begin(self, *given)
        asked.extend(int(i) for _, targets in found for i in targets.ids)
        return found

    monkeypatch.setattr(Learner, "_groups", groups)
    options = settings(dense_weight=weight)
    PublicTools().fit(conv, IMAGES[:3], IMAGES[3:], tmp_path / "fit", options, lambda _: None)
    assert any(asked) and (0 in asked) == bool(weight)


def test_settings_suit_model_and_machine():
    laptop, gpu = Machine(is_vit=True), Machine(is_vit=True, on_gpu=True)
    nano = Machine(is_vit=False, on_gpu=True)
    assert (laptop.default_way, gpu.default_way, nano.default_way) == (DECODER, ADAPTERS, DECODER)
    assert ADAPTERS not in nano.ways and laptop.default_steps < gpu.default_steps
    for machine in (laptop, gpu, nano):
        for way in machine.ways:
            chosen = settings_for(machine, way, 7, all_labelled=False, device="cpu")
            fit = FitSettings(**chosen)
            assert (fit.what, fit.steps, fit.device, fit.dense_weight) == (way.what, 7, "cpu", 0)
    assert FitSettings(**settings_for(nano, ALL, 7, all_labelled=True, device="cpu")).dense_weight


def improved_in_a_process(job, root):
    improvement = Improvement(lambda job: TrainingProcess(job, root))
    improvement.start(job, "disks")
    while improvement.is_running:
        improvement.tick()
        threading.Event().wait(0.05)
    return improvement


def test_the_command_reads_a_folder_and_says_what_is_wrong_with_it(conv, tmp_path):
    for part, array in (("images", IMAGES[0].pixels), ("labels", IMAGES[0].labels)):
        (tmp_path / "data" / part).mkdir(parents=True)
        Image.fromarray(array.astype(np.uint16)).save(tmp_path / "data" / part / "a.png")
    root = tmp_path / "improved"
    ended = improved_in_a_process(Job(conv, (), (tmp_path / "data",), settings()), root)
    assert ended.phase is Phase.FAILED and not list(root.iterdir())
    assert ended.message.startswith("Expected at least 5 labelled objects, got 3")


@pytest.mark.slow
def test_a_whole_improvement_in_a_process_of_its_own(conv, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_SEGMENT_ANYTHING_CACHE", str(tmp_path))
    root = tmp_path / "improved"
    ended = improved_in_a_process(Job(conv, (IMAGES,), (), settings()), root)
    assert ended.phase is Phase.DONE, ended.message
    assert ended.course.step == 2 and ended.course.sample is None
    assert ended.outcome.verdict.objects == 3
    assert len(list(root.iterdir())) == (ended.outcome.new is not None)
