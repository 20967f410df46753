"""What a person does around the clicks: dock, viewer, models, and a slow worker."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from napari.utils import progress
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_segment_anything.widget.attach import session_of

SIZE = (120, 160)
LEFT = Qt.MouseButton.LeftButton


def press(button):
    QTest.mouseClick(button, LEFT)


def worker_threads():
    return [t for t in threading.enumerate() if t.name == "segment-anything"]


@pytest.fixture
def slow(opened, functions):
    """The dock, while the encoder works on a new picture and does not end."""
    _, _, session, _ = opened
    functions.gate.clear()
    session.image.data = np.ones(SIZE, np.uint8)
    QTest.qWait(60)
    assert session.controller.session.is_busy
    return opened


def test_the_toggle_key_switches_there_and_back(opened):
    _, dock, session, hand = opened
    for col, key in ((40, "K"), (46, "K"), (100, "")):
        hand.click(60, col)
        if key:
            hand.key(key)
    session.wait(10)
    assert session.points.features["foreground"].tolist() == [True, False, True]
    assert "foreground" in dock.object_panel.sign.text()
    mask = session.mask.data
    assert mask[60, 35] and not mask[60, 46] and mask[60, 100]


def test_a_new_object_starts_without_the_old_prompts(opened):
    _, _, session, hand = opened
    hand.click(30, 30)
    hand.key("G")
    hand.click(90, 120)
    session.wait(10)
    assert len(session.points.data) == 1
    assert session.mask.data[90, 120] and not session.mask.data[30, 30]
    assert session.labels.data[30, 30] == 1 and session.labels.data[90, 120] == 0


def test_outline_and_scribble_tools(opened):
    _, dock, session, hand = opened
    press(dock.object_panel.tools["Scribble"])
    assert session.shapes.mode == "add_path"
    session.shapes.add(np.array([[60.0, 40], [60, 100]]), shape_type="path")
    session.wait(10)
    assert all(session.mask.data[60, x] for x in (45, 70, 95))
    hand.key("U")
    session.wait(10)
    assert not session.mask.data.any() and len(session.shapes.data) == 0
    press(dock.object_panel.tools["Outline"])
    assert session.shapes.mode == "add_polygon_lasso"
    press(dock.object_panel.tools["Point"])
    hand.click(60, 80)
    session.wait(10)
    assert session.mask.data[60, 80]


@pytest.mark.parametrize("key", ["G", "Q", "U"])
def test_keys_while_a_polygon_is_being_drawn(opened, key):
    viewer, _, session, hand = opened
    hand.click(20, 20)
    session.wait(10)
    viewer.layers.selection.active = session.shapes
    session.shapes.mode = "add_polygon"

    def corners():
        for row, col in ((40, 40), (40, 80), (80, 80), (80, 40)):
            hand.click(row, col)
            QTest.qWait(400)  # else it is a double click, which ends the polygon
            QTest.mouseMove(hand.canvas, hand.place(row + 1, col + 1))

    corners()
    hand.key(key)
    session.wait(10)
    assert len(session.shapes.data) == 0
    assert (session.labels.data[20, 20] == 1) == (key == "G")
    assert session.mask.data.any() == (key == "U")
    corners()
    QTest.keyClick(hand.canvas, Qt.Key.Key_Escape)
    session.wait(10)
    assert len(session.shapes.data) == 1 and session.mask.data[60:].any()


def test_box_and_click_are_one_prompt(opened, functions):
    _, dock, session, hand = opened
    press(dock.object_panel.tools["Box"])
    hand.drag((30, 40), (60, 80))
    press(dock.object_panel.tools["Point"])
    hand.click(45, 110)
    session.wait(10)
    assert session.mask.data[45, 60] and session.mask.data[45, 110]
    assert dock.object_panel.candidate.text().startswith("Mask, predicted IoU")
    assert not dock.object_panel.next.isEnabled()
    press(dock.object_panel.undo)
    session.wait(10)
    assert session.mask.data[45, 60] and not session.mask.data[45, 110]


def test_buttons_follow_what_can_be_done(opened):
    _, dock, session, hand = opened
    panel = dock.object_panel
    assert not panel.commit.isEnabled() and not panel.next.isEnabled()
    assert not dock.whole_panel.stop.isEnabled() and dock.whole_panel.start.isEnabled()
    hand.click(60, 80)
    session.wait(10)
    assert panel.commit.isEnabled() and panel.next.isEnabled()
    press(panel.cancel)
    assert not panel.commit.isEnabled() and not panel.next.isEnabled()
    assert panel.candidate.text() == "Click on an object"


def test_the_overwrite_box_decides(opened):
    _, dock, session, hand = opened
    hand.click(60, 80)
    hand.key("G")
    session.wait(10)
    dock.object_panel.overwrite.setChecked(True)
    hand.click(60, 86)
    hand.key("G")
    session.wait(10)
    assert session.overwrite and session.labels.data[60, 84] == 2
    dock.object_panel.overwrite.setChecked(False)
    hand.click(60, 80)
    hand.key("G")
    session.wait(10)
    assert session.labels.data[60, 84] == 2


def test_many_clicks_while_encoding_are_all_answered(slow, functions):
    _, dock, session, hand = slow
    places = [(30, 30), (30, 80), (30, 130), (90, 30), (90, 80)]
    for row, col in places:
        hand.click(row, col)
        hand.key("G")
    assert "5 prompts waiting" in dock.whole_panel.status.text()
    assert not session.labels.data.any()
    functions.gate.set()
    session.wait(10)
    assert [int(session.labels.data[place]) for place in places] == [1, 2, 3, 4, 5]
    assert session.encode_count == 2


def test_segmenting_everything_can_be_cancelled(slow, functions):
    _, dock, session, _ = slow
    press(dock.whole_panel.start)
    assert dock.whole_panel.stop.isEnabled()
    press(dock.whole_panel.stop)
    session.wait(10)
    functions.gate.set()
    assert not session.labels.data.any() and dock.whole_panel.status.text() == "Ready"
    assert not dock.whole_panel.stop.isEnabled()
    press(dock.whole_panel.start)
    session.wait(10)
    assert np.unique(session.labels.data).tolist() == [0, 1, 2]


def test_progress_is_shown_for_what_takes_long_and_goes(opened, functions):
    _, _, session, hand = opened
    for row in range(20, 100, 8):
        hand.click(row, 80)
        session.wait(10)
    assert not progress._all_instances
    functions.gate.clear()
    session.image.data = np.ones(SIZE, np.uint8)
    QTest.qWait(600)
    assert [bar.desc for bar in progress._all_instances] == ["Encoding the image"]
    functions.gate.set()
    session.wait(10)
    assert not progress._all_instances


def test_undo_of_whole_image_by_key(opened):
    viewer, dock, session, hand = opened
    press(dock.whole_panel.start)
    session.wait(10)
    viewer.layers.selection.active = session.labels
    QTest.keyClick(hand.canvas, "z", Qt.KeyboardModifier.ControlModifier)
    assert not session.labels.data.any()
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(hand.canvas, "z", keys)
    assert np.unique(session.labels.data).tolist() == [0, 1, 2]


def test_the_model_in_the_box_is_the_sessions(opened):
    viewer, dock, session, _ = opened
    dock.model_box.setCurrentIndex(1)
    dock.model_box.activated.emit(1)
    session.wait(10)
    other = viewer.add_image(np.zeros((50, 60)), name="other")
    dock.image_box.value = other
    dock.session.wait(10)
    dock.model_box.setCurrentIndex(0)
    dock.model_box.activated.emit(0)
    dock.session.wait(10)
    assert dock.session.controller.model == "nano"
    dock.image_box.value = session.image
    assert dock.model_box.model_name == "vit_b" == session.controller.model
    session_of(other).close()


def test_a_failed_prompt_is_told_and_the_next_works(opened, functions):
    _, _, session, hand = opened
    notification_manager.records.clear()
    functions.fail_next = RuntimeError("no such luck")
    hand.click(60, 80)
    with pytest.raises(RuntimeError, match="no such luck"):
        session.wait(10)
    assert [r.message for r in notification_manager.records] == ["no such luck"]
    hand.click(60, 84)
    session.wait(10)
    assert session.mask.data[60, 80] and session.mask.data[60, 84]


def test_removing_the_image_empties_the_dock(opened):
    viewer, dock, session, _ = opened
    dispatcher = session.controller.dispatcher
    viewer.layers.remove(session.image)
    assert dock.session is None and not dock.object_panel.isEnabled()
    assert dock.whole_panel.status.text() == "Open an image to begin"
    assert dispatcher.join(10)
    viewer.add_image(np.zeros((40, 50)), name="next")
    assert dock.session is not None and dock.session.image.name == "next"
    dock.session.wait(10)


def test_emptying_the_viewer_empties_the_dock(opened):
    viewer, dock, session, _ = opened
    viewer.add_image(np.zeros((40, 50)), name="other")
    dispatcher = session.controller.dispatcher
    viewer.layers.clear()
    assert not viewer.layers and dock.session is None
    assert dispatcher.join(10)


def test_removing_a_session_layer_ends_the_session_until_the_image_is_chosen(opened):
    viewer, dock, session, _ = opened
    viewer.layers.remove(session.points)
    assert dock.session is None and len(viewer.layers) == 4
    viewer.add_labels(np.zeros(SIZE, int), name="my labels")
    assert dock.session is None
    dock.image_box.value = session.image
    assert dock.session is not None and dock.session.labels is session.labels
    dock.session.wait(10)


def test_a_dock_opened_twice_shows_one_session(opened):
    viewer, _, session, hand = opened
    widget, second = viewer.window.add_plugin_dock_widget(
        "napari-segment-anything", "Segment Anything"
    )
    assert second.session is session
    hand.click(60, 80)
    session.wait(10)
    viewer.window.remove_dock_widget(widget)
    hand.key("G")
    session.wait(10)
    assert session.labels.data[60, 80] == 1
    assert len(worker_threads()) == 1


@pytest.mark.parametrize("is_busy", [False, True])
def test_closing_the_viewer_ends_the_worker(make_napari_viewer, functions, qtbot, is_busy):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros(SIZE, np.uint8), name="cells")
    _, dock = viewer.window.add_plugin_dock_widget("napari-segment-anything", "Segment Anything")
    session = dock.session
    session.wait(20)
    gone = weakref.ref(session.controller)
    if is_busy:
        functions.gate.clear()
        session.image.data = np.ones(SIZE, np.uint8)
        QTest.qWait(30)
    del session, dock
    viewer.close()
    del viewer

    def is_gone():
        gc.collect()
        return not worker_threads() and gone() is None

    qtbot.waitUntil(is_gone, timeout=5000)
