"""Improving the model in the dock: pressed, watched, clicked meanwhile, used, taken back."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.improving.fake_run import FakeRun

from napari_segment_anything.improving.improvement import Improvement, Phase
from napari_segment_anything.viewer.annotated import LayerPair, job_for
from napari_segment_anything.widget import improve_panel

LEFT = Qt.MouseButton.LeftButton


def press(button):
    assert button.isVisible() and button.isEnabled()
    QTest.mouseClick(button, LEFT)


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Trainings that the dock has begun, in the order of their beginnings."""
    monkeypatch.setenv("NAPARI_SEGMENT_ANYTHING_CACHE", str(tmp_path))
    begun: list[FakeRun] = []

    def start(job):
        begun.append(FakeRun(job))
        return begun[-1]

    monkeypatch.setattr(improve_panel, "Improvement", lambda: Improvement(start))
    return begun


@pytest.fixture
def ready(runs, opened):
    """(panel, session, hand) with the section open and ten labelled squares."""
    _, dock, session, hand = opened
    labels = np.zeros((120, 160), np.int32)
    for i in range(10):
        labels[100:110, 15 * i + 2 : 15 * i + 12] = i + 1
    session.labels.data = labels
    panel = dock.improve_panel
    assert not panel.body.isVisible()
    press(panel.header)
    return panel, session, hand


def wait_for(condition):
    for _ in range(100):
        if condition():
            return
        QTest.qWait(30)
    raise AssertionError("waited for too long")


def test_a_better_model_is_used_and_can_be_taken_back(ready, runs, opened, tmp_path):
    panel, session, hand = ready
    _, dock, _, _ = opened
    session.labels.selected_label = 7
    press(panel.press)
    (run,) = runs
    assert run.job.model == "nano" and run.job.settings["what"] == "decoder"
    assert run.job.settings["dense_weight"] == 0.0
    (image,) = run.job.sources[0]
    assert np.array_equal(image.labels, session.labels.data) and image.pixels.shape == (120, 160)
    assert not panel.setup.isVisible() and panel.press.text() == "Stop"

    sample = tmp_path / "sample.png"
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(sample)
    run.step(0, loss=None, score=0.5)
    for step in range(1, 5):
        run.step(step, loss=1 / step)
    run.step(5, loss=0.2, score=0.8, sample=str(sample))
    wait_for(lambda: panel.course.bar.value() == 5)
    assert panel.course.bar.text() == "step 5 of 10" and panel.header.text().endswith("5 of 10")
    assert panel.course.curve.isVisible() and not panel.course.sample.pixmap().isNull()
    drawn = panel.course.curve.grab().toImage()
    colours = {drawn.pixelColor(x, y).name() for x in range(drawn.width()) for y in range(84)}
    assert {"#8f959e", "#2fd36b"} <= colours

    hand.click(60, 80)  # the training goes on, and the click is answered
    session.wait(10)
    assert session.mask.data[60, 80] and panel.improvement.is_running

    run.finish(tmp_path / "improved", [0.8, 0.8, 0.8])
    wait_for(lambda: not panel.improvement.is_running)
    new = str(tmp_path / "improved" / "nano-cells.safetensors")
    assert session.controller.model == new and dock.model_box.model_name == new
    assert dock.model_box.currentText() == "nano-cells (improved)"
    assert "Better, IoU 0.60 → 0.80" in panel.message.text() and "in use" in panel.message.text()
    session.wait(10)
    assert session.controller.engine.at_hand.model.name == new
    assert session.mask.data[60, 80] and len(session.points.data) == 1  # the prompt stays
    assert session.labels.data.max() == 10 and not panel._timer.isActive()

    assert panel.switch.text() == "Back to nano"
    press(panel.switch)
    session.wait(10)
    assert session.controller.model == "nano" == dock.model_box.model_name
    assert panel.switch.text() == "Use nano-cells" and dock.model_box.findData(new) > 0


def test_stopped_failed_and_no_better(ready, runs, tmp_path):
    panel, session, _ = ready
    press(panel.press)
    press(panel.press)
    assert runs[0].stops == 1 and panel.press.text() == "End at once, keep nothing"
    runs[0].finish(tmp_path / "improved", [0.5, 0.6, 0.6])
    wait_for(lambda: not panel.improvement.is_running)
    assert panel.improvement.phase is Phase.STOPPED and session.controller.model == "nano"
    assert "nano stays in use" in panel.message.text() and not panel.switch.isVisible()

    press(panel.press)
    runs[1].say("failed", why="There was not enough memory.")
    wait_for(lambda: panel.message.text() == "There was not enough memory.")
    assert panel.press.text() == "Improve" and panel.setup.isVisible()

    session.labels.data = np.zeros((120, 160), np.int32)
    press(panel.press)
    assert len(runs) == 2 and "at least 5 labelled objects, got 0" in panel.message.text()
    panel.sources.item(0).setCheckState(Qt.CheckState.Unchecked)
    press(panel.press)
    assert len(runs) == 2 and "none are ticked" in panel.message.text()


def test_closing_the_dock_ends_the_training(ready, runs, opened):
    viewer, _, _, _ = opened
    panel = ready[0]
    press(panel.press)
    viewer.window.remove_dock_widget(next(iter(viewer.window._wrapped_dock_widgets.values())))
    assert runs[0].ended == 1 and not panel._timer.isActive()
    assert not panel.sources.sources and panel.sources.default is None


def test_a_panel_that_is_destroyed_ends_the_training(runs, qtbot):
    viewer = ViewerModel()
    labels = viewer.add_labels(np.arange(100, dtype=np.int32).reshape(10, 10))
    image = viewer.add_image(np.zeros((10, 10)))
    panel = improve_panel.ImprovePanel(viewer)
    panel.improvement.start(job_for("nano", [LayerPair(image, labels)], viewer.dims, {}), "x")
    panel.deleteLater()
    qtbot.waitUntil(lambda: runs[0].ended == 1)


def test_what_can_be_learned_from(ready, opened, runs, monkeypatch, tmp_path):
    viewer, _, session, _ = opened
    panel = ready[0]
    own = "cells objects on cells"
    rows = lambda: [panel.sources.item(i).text() for i in range(panel.sources.count())]  # noqa: E731
    assert rows() == [own]  # the live mask is none
    viewer.add_labels(np.ones((120, 160), np.uint8), name="theirs")
    viewer.add_labels(np.ones((12, 16), np.uint8), name="small")
    viewer.add_image(np.zeros((5, 120, 160, 3), np.uint8), rgb=True, name="film")
    assert rows() == [own, "cells objects on film", "theirs on cells", "theirs on film"]
    panel.sources.item(2).setCheckState(Qt.CheckState.Checked)
    viewer.layers.remove("film")
    assert rows() == [own, "theirs on cells"]
    monkeypatch.setattr(
        improve_panel.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "more")
    )
    press(panel.folder)
    assert rows() == [own, "theirs on cells", "more/"]
    press(panel.press)
    job = runs[0].job
    assert [len(planes) for planes in job.sources] == [1, 1]
    assert job.folders == (tmp_path / "more",)

    session.set_model("vit_b")
    session.wait(10)
    ways = [panel.way.itemText(i) for i in range(panel.way.count())]
    assert ways == ["Decoder", "Decoder and adapters", "Everything"]
    assert panel.way.currentText() == "Decoder" and not panel.all_labelled.isVisible()
    runs[0].finish(tmp_path / "improved", [0.8, 0.8, 0.8])
    wait_for(lambda: not panel.improvement.is_running)
    assert session.controller.model == "vit_b"  # chosen meanwhile: it stays
    assert "in the list of models" in panel.message.text()
    assert panel.switch.text() == "Use nano-cells"
