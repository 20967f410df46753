"""One test a user story: real clicks, keys and buttons in a real window."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.fakes import disk

from napari_segment_anything import attach

SIZE = (120, 160)
LEFT = Qt.MouseButton.LeftButton


def near(mask, x, y, radius=8, tolerance=1.5):
    """The mask is the disk around about (x, y): a mouse is only as exact as the screen."""
    rows, cols = np.nonzero(mask)
    centre = abs(rows.mean() - y) < tolerance and abs(cols.mean() - x) < tolerance
    return centre and abs(mask.sum() / disk(SIZE, x, y, radius).sum() - 1) < 0.15


def press(button):
    QTest.mouseClick(button, LEFT)


def test_the_dock_makes_its_layers_and_encodes(opened):
    viewer, dock, session, _ = opened
    names = [layer.name for layer in viewer.layers]
    assert names == [
        "cells",
        *(f"cells {n}" for n in ("objects", "current mask", "boxes", "points")),
    ]
    assert viewer.layers.selection.active is session.points and session.points.mode == "add"
    assert session.encode_count == 1 and dock.whole_panel.status.text() == "Ready"
    assert attach(viewer, viewer.layers["cells"]) is session


def test_click_shows_a_mask_and_commit_keeps_it(opened):
    _, dock, session, hand = opened
    hand.click(60, 80)
    session.wait(10)
    assert near(session.mask.data, 80, 60)
    assert dock.object_panel.candidate.text() == "Mask 1 of 3, predicted IoU 0.90"
    press(dock.object_panel.commit)
    session.wait(10)
    assert near(session.labels.data == 1, 80, 60) and not session.mask.data.any()
    hand.click(30, 30)
    session.wait(10)
    hand.key("G")
    session.wait(10)
    assert near(session.labels.data == 2, 30, 30)


def test_background_points_by_key_and_button(opened):
    _, dock, session, hand = opened
    hand.click(60, 80)
    hand.key("K")
    assert "background" in dock.object_panel.sign.text()
    hand.click(60, 92)
    session.wait(10)
    assert session.points.features["foreground"].tolist() == [True, False]
    assert session.mask.data[60, 76] and not session.mask.data[60, 87]
    press(dock.object_panel.sign)
    assert session.foreground


def test_drag_a_box(opened):
    _, dock, session, hand = opened
    press(dock.object_panel.tools["Box"])
    assert session.shapes.mode == "add_rectangle"
    hand.drag((30, 40), (60, 100))
    session.wait(10)
    rows, cols = np.nonzero(session.mask.data)
    expected = (30, 40, 60, 100)
    found = (rows.min(), cols.min(), rows.max(), cols.max())
    assert np.abs(np.subtract(found, expected)).max() <= 2
    assert session.mask.data[30:60, 40:100].mean() > 0.9


def test_step_through_candidates(opened):
    _, dock, session, hand = opened
    hand.click(60, 80)
    session.wait(10)
    areas = [session.mask.data.sum()]
    hand.key("N")
    areas.append(session.mask.data.sum())
    press(dock.object_panel.next)
    areas.append(session.mask.data.sum())
    assert areas[0] > areas[1] > areas[2]
    assert dock.object_panel.candidate.text() == "Mask 3 of 3, predicted IoU 0.50"


def test_undo_prompt_and_clear(opened):
    _, dock, session, hand = opened
    hand.click(60, 40)
    hand.click(60, 120)
    session.wait(10)
    hand.key("U")
    session.wait(10)
    assert near(session.mask.data, 40, 60)
    press(dock.object_panel.cancel)
    assert not session.mask.data.any() and not len(session.points.data)
    assert not session.labels.data.any()


def test_undo_of_a_commit_is_naparis_own(opened):
    viewer, _, session, hand = opened
    hand.click(60, 80)
    hand.key("G")
    session.wait(10)
    assert session.labels.data.any()
    viewer.layers.selection.active = session.labels
    QTest.keyClick(hand.canvas, "z", Qt.KeyboardModifier.ControlModifier)
    assert not session.labels.data.any()


def test_refine_a_label(opened):
    viewer, _, session, hand = opened
    hand.click(60, 80)
    hand.key("G")
    session.wait(10)
    session.labels.selected_label = 1
    hand.key("J")
    session.wait(10)
    viewer.layers.selection.active = session.points
    hand.click(60, 90)
    session.wait(10)
    hand.key("G")
    session.wait(10)
    assert np.unique(session.labels.data).tolist() == [0, 1]
    assert session.labels.data[60, 74] == session.labels.data[60, 97] == 1


def test_segment_everything(opened):
    _, dock, session, _ = opened
    press(dock.whole_panel.start)
    session.wait(10)
    assert np.unique(session.labels.data).tolist() == [0, 1, 2]
    assert session.labels.features["stability_score"].tolist() == [0.9, 0.9]


def test_clicks_while_encoding_are_not_lost_and_cancel_works(opened, functions):
    _viewer, dock, session, hand = opened
    functions.gate.clear()
    session.image.data = np.ones(SIZE, np.uint8)
    QTest.qWait(100)
    assert dock.whole_panel.status.text().startswith("Encoding")
    hand.click(60, 80)
    hand.key("G")
    hand.click(60, 120)
    assert not session.labels.data.any()
    functions.gate.set()
    session.wait(10)
    assert near(session.labels.data == 1, 80, 60) and near(session.mask.data, 120, 60)
    functions.gate.clear()
    session.image.data = np.full(SIZE, 2, np.uint8)
    QTest.qWait(50)
    press(dock.whole_panel.stop)
    session.wait(10)
    assert session.encode_count == len(functions.encoded) == 2  # the third was cancelled
    assert dock.whole_panel.status.text() == "Ready" and session.labels.data.any()


def test_another_model_keeps_the_labels(opened, functions):
    _, dock, session, hand = opened
    hand.click(60, 80)
    hand.key("G")
    session.wait(10)
    before = session.labels.data.copy()
    dock.model_box.setCurrentIndex(1)
    dock.model_box.activated.emit(1)
    session.wait(10)
    assert session.controller.model == "vit_b" and session.encode_count == 2
    assert np.array_equal(session.labels.data, before)


def test_a_broken_model_is_told_and_given_up(opened):
    _, dock, session, hand = opened
    notification_manager.records.clear()
    dock.model_box.show_model("broken.pth")
    dock.model_box.chosen.emit("broken.pth")
    with pytest.raises(ValueError, match="broken"):
        session.wait(10)
    assert any("broken.pth" in r.message for r in notification_manager.records)
    assert session.controller.model == "nano" and dock.model_box.model_name == "nano"
    hand.click(60, 80)
    session.wait(10)
    assert near(session.mask.data, 80, 60)


def test_contrast_limits_are_debounced(opened):
    _, _, session, _ = opened
    for high in range(10, 60):
        session.image.contrast_limits = (0, high)
    session.wait(10)
    assert session.encode_count == 2


def test_a_second_image_gets_its_own_session(opened):
    viewer, dock, session, _ = opened
    other = viewer.add_image(np.zeros((50, 60)), name="other")
    dock.image_box.value = other
    dock.session.wait(10)
    assert dock.session is not session and dock.session.labels.data.shape == (50, 60)
    dock.image_box.value = session.image
    assert dock.session is session
    attach(viewer, other).close()


def test_closing_leaves_nothing_behind(make_napari_viewer, functions):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros(SIZE, np.uint8), name="cells")
    widget, dock = viewer.window.add_plugin_dock_widget(
        "napari-segment-anything", "Segment Anything"
    )
    session = dock.session
    session.wait(20)
    viewer.window.remove_dock_widget(widget)
    session.points.add([60, 80])  # the session goes on without the dock
    session.wait(10)
    assert near(session.mask.data, 80, 60)
    dispatcher, gone = session.controller.dispatcher, weakref.ref(session.controller)
    del session, dock, widget
    viewer.layers.clear()
    assert dispatcher.join(10)
    del dispatcher
    gc.collect()
    assert gone() is None
    assert not [t for t in threading.enumerate() if t.name == "segment-anything"]
