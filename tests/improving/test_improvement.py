"""The state machine, fed by a run that says what the test wants it to."""

from __future__ import annotations

import pytest
from tests.improving.fake_run import FakeRun
from tests.improving.test_split import squares

from napari_segment_anything.improving.improvement import Improvement, Phase
from napari_segment_anything.improving.job import Job
from napari_segment_anything.zoo import own_models

JOB = Job("nano", ((squares(10),),))


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """(improvement, run), running; models are kept in ``tmp_path / "improved"``."""
    monkeypatch.setenv("NAPARI_SEGMENT_ANYTHING_CACHE", str(tmp_path))
    runs = []
    improvement = Improvement(lambda job: runs.append(FakeRun(job)) or runs[-1])
    improvement.start(JOB, "cells")
    return improvement, runs[0]


def finish(improvement, run, tmp_path, after):
    run.finish(tmp_path / "improved", after)
    improvement.tick()


def test_from_idle_through_running_to_a_better_model(begun, tmp_path):
    improvement, run = begun
    assert improvement.phase is Phase.RUNNING and run.job is JOB
    run.say("split", train=8, held_out=2)
    run.say("judging", done=1, total=4)
    improvement.tick()
    assert improvement.course.doing == "Judging on held-out objects, 25 %"
    run.step(0, loss=None, score=0.5)
    run.step(2, loss=0.8, sample="a.png")
    improvement.tick()
    run.step(4, loss=0.6, score=0.7)
    improvement.tick()
    course = improvement.course
    assert (course.step, course.steps, course.sample) == (4, 10, "a.png")
    assert course.losses == ((2, 0.8), (4, 0.6)) and course.scores == ((0, 0.5), (4, 0.7))
    finish(improvement, run, tmp_path, [0.8, 0.8, 0.8])
    assert improvement.phase is Phase.DONE and not improvement.is_running and run.ended == 1
    assert improvement.message == "Better, IoU 0.60 → 0.80 on 3 held-out objects."
    new = improvement.outcome.new
    assert new == str(tmp_path / "improved" / "nano-cells.safetensors")
    assert [str(path) for path in own_models.own_models()] == [new]
    assert improvement.course.losses == course.losses  # the curve stays


def test_time_left_follows_the_pace(begun, monkeypatch):
    improvement, run = begun
    now = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr(
        "napari_segment_anything.improving.improvement.time.monotonic", lambda: next(now)
    )
    for step, left in ((0, None), (2, 40.0), (6, 20 / 6 * 4)):
        run.step(step)
        improvement.tick()
        assert improvement.course.seconds_left == pytest.approx(left)


def test_a_model_that_is_no_better_is_not_kept(begun, tmp_path):
    improvement, run = begun
    finish(improvement, run, tmp_path, [0.5, 0.6, 0.69])
    assert improvement.phase is Phase.DONE and improvement.outcome.new is None
    assert "No better" in improvement.message and "nano stays in use" in improvement.message
    assert not list((tmp_path / "improved").glob("nano*"))


def test_stopping_waits_for_the_best_so_far(begun, tmp_path):
    improvement, run = begun
    improvement.stop()
    assert improvement.phase is Phase.STOPPING and run.stops == 1 and not run.ended
    finish(improvement, run, tmp_path, [0.8, 0.8, 0.8])
    assert improvement.phase is Phase.STOPPED and improvement.outcome.new is not None


def test_stopping_before_there_is_a_model(begun):
    improvement, run = begun
    improvement.stop()
    run.say("result", best=None, before=[], after=[])
    improvement.tick()
    assert improvement.phase is Phase.STOPPED and improvement.outcome is None
    assert "before there was a model" in improvement.message


def test_stopping_twice_ends_at_once(begun):
    improvement, run = begun
    improvement.stop()
    improvement.stop()
    assert improvement.phase is Phase.STOPPED and run.ended == 1 and not improvement.is_running
    improvement.tick()
    improvement.stop()
    assert run.ended == 1


def test_closing_ends_at_once(begun):
    improvement, run = begun
    improvement.close()
    improvement.close()
    assert run.ended == 1 and not improvement.is_running


def test_failures(begun):
    improvement, run = begun
    run.say("failed", why="Expected more.")
    improvement.tick()
    assert improvement.phase is Phase.FAILED and improvement.message == "Expected more."
    improvement.start(JOB, "cells")  # and again
    assert improvement.phase is Phase.RUNNING and improvement.message == ""


def test_a_run_that_dies_is_told(begun):
    improvement, run = begun
    run.step(1)
    run.running = False
    improvement.tick()
    assert improvement.phase is Phase.FAILED and run.ended == 1
    assert "ended without a result (Killed, exit status -9)" in improvement.message


def test_one_at_a_time_and_enough_objects(begun):
    improvement, _ = begun
    with pytest.raises(ValueError, match="one is running"):
        improvement.start(JOB, "cells")
    fresh = Improvement(FakeRun)
    with pytest.raises(ValueError, match="got 3; label 2 more"):
        fresh.start(Job("nano", ((squares(3),),)), "cells")
    assert fresh.phase is Phase.IDLE


def test_names_tell_where_a_model_comes_from(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_SEGMENT_ANYTHING_CACHE", str(tmp_path))
    folder = tmp_path / "improved"
    folder.mkdir()

    def kept(parent, subject):
        (folder / "new").write_text("weights")
        return own_models.keep(folder / "new", parent, subject).name

    assert kept("nano", "my cells/1") == "nano-my_cells_1.safetensors"
    second = kept(str(folder / "nano-my_cells_1.safetensors"), "my cells/1")
    assert second == "nano-my_cells_1-2.safetensors"
    assert kept(str(folder / second), "my cells/1") == "nano-my_cells_1-3.safetensors"
    assert kept("/elsewhere/sam_vit_b.pth", "x") == "sam_vit_b-x.safetensors"
    assert kept(str(folder / "nano-a.safetensors"), "b") == "nano-a-b.safetensors"
