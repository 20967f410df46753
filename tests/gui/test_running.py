"""Where and how exactly the model runs: shown, chosen, and told when it has to change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from napari.utils.notifications import notification_manager
from tests.fakes import fake_model

from napari_segment_anything import attach
from napari_segment_anything.config import ModelChoice
from napari_segment_anything.widget.attach import session_of


def choose(box, text):
    box.setCurrentText(text)
    box.activated.emit(box.currentIndex())


def test_the_dock_shows_what_was_picked_and_why(opened):
    _, dock, session, _ = opened
    row = dock.run_row
    assert row.line.text() == "cpu · fp32: no native bf16 here" == session.running
    assert row.line.toolTip() == "The model runs on cpu in fp32: no native bf16 here."
    assert row.precision == "auto" and not row.device_box.isVisible()


def test_choosing_a_precision_loads_the_model_anew(opened):
    _, dock, session, hand = opened
    hand.click(60, 80)
    hand.key("G")
    session.wait(10)
    before = session.labels.data.copy()
    choose(dock.run_row.precision_box, "bf16")
    session.wait(10)
    assert session.controller.choice == ModelChoice("nano", "auto", "bf16")
    assert dock.run_row.line.text() == "cpu · bf16: as asked" and session.encode_count == 2
    assert np.array_equal(session.labels.data, before)
    choose(dock.model_box, dock.model_box.itemText(1))
    session.wait(10)
    assert session.controller.choice == ModelChoice("vit_b", "auto", "bf16")


def test_a_new_session_gets_what_the_dock_shows(opened):
    viewer, dock, session, _ = opened
    choose(dock.run_row.precision_box, "bf16")
    other = viewer.add_image(np.zeros((50, 60)), name="other")
    dock.image_box.value = other
    dock.session.wait(10)
    assert dock.session is not session and dock.session.running == "cpu · bf16: as asked"
    session_of(other).close()


def test_devices_are_offered_where_there_are_several(opened, monkeypatch):
    _, dock, session, _ = opened
    monkeypatch.setattr(
        "napari_segment_anything.inference.runtime.devices", lambda: ("auto", "cpu", "cuda")
    )
    session.set_model("vit_b", precision="fp32")
    session.wait(10)
    row = dock.run_row
    assert row.device_box.isVisible() and row.precision_box.findText("fp16") < 0
    choose(row.device_box, "cuda")
    session.wait(10)
    assert session.controller.choice == ModelChoice("vit_b", "cuda", "fp32")
    assert row.line.text() == "cuda · fp32: as asked" and row.precision_box.findText("fp16") > 0


def test_scripts_choose_too_and_the_dock_follows(opened):
    viewer, dock, session, _ = opened
    session.set_model("vit_b", precision="fp16")
    session.wait(10)
    assert dock.model_box.model_name == "vit_b" and dock.run_row.precision == "fp16"
    session.set_model("nano")  # what is not given stays
    assert session.controller.choice == ModelChoice("nano", "auto", "fp16")
    assert attach(viewer, session.image, precision="bf16") is session
    session.wait(10)
    assert session.controller.choice == ModelChoice("nano", "auto", "bf16")


def test_a_loaded_model_runs_as_it_was_loaded(opened):
    _, dock, session, _ = opened
    model = fake_model("mine", precision="bf16")
    with pytest.raises(ValueError, match="give them to load_model"):
        session.set_model(model, precision="fp32")
    session.set_model(model)
    session.wait(10)
    assert session.running == "cpu · bf16: as asked" and not dock.run_row.isEnabled()
    session.set_model("nano")
    session.wait(10)
    assert dock.run_row.isEnabled()


def test_a_gpu_that_is_full_is_told_once_and_nothing_is_lost(opened, functions):
    _, dock, session, hand = opened
    session.set_model("nano", device="cuda")
    session.wait(10)
    notification_manager.records.clear()
    predict = functions.predict

    def full(model, *prompt):
        if model.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return predict(model, *prompt)

    functions.predict = full
    for col in (40, 80, 120):
        hand.click(60, col)
        hand.key("G")
    session.wait(10)
    assert [int(session.labels.data[60, col]) for col in (40, 80, 120)] == [1, 2, 3]
    messages = [record.message for record in notification_manager.records]
    assert messages == ["The GPU ran out of memory: going on on the CPU."]
    assert dock.run_row.line.text().startswith("cpu · fp32")
