"""The dock closed, hidden and opened again: memory goes and comes, what was done stays."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_segment_anything.widget.dock import SegmentAnythingDock

SIZE = (120, 160)


def dock_widget(viewer):
    return next(iter(viewer.window._wrapped_dock_widgets.values()))


def reopen(viewer):
    _, dock = viewer.window.add_plugin_dock_widget("napari-segment-anything", "Segment Anything")
    return dock


def by_x_button(viewer):
    QTest.mouseClick(dock_widget(viewer).title.close_button, Qt.MouseButton.LeftButton)


def by_script(viewer):
    viewer.window.remove_dock_widget(dock_widget(viewer))


def watched(session):
    engine = session.controller.engine
    kept = [engine.at_hand.model, *engine.cache._kept.values()]
    assert None not in kept and len(kept) > 1
    return [weakref.ref(one) for one in kept]


def alive(references):
    return sum(one() is not None for one in references)


@pytest.mark.parametrize("close", [by_x_button, by_script])
def test_closing_the_dock_gives_memory_back_and_keeps_what_was_done(opened, functions, close):
    viewer, _, session, hand = opened
    hand.click(60, 40)
    hand.key("G")
    hand.click(60, 120)
    session.wait(10)
    gone = watched(session)
    gc.disable()
    close(viewer)
    session.wait(10)
    assert alive(gone) == 0
    gc.enable()
    assert session.labels.data[60, 40] == 1 and session.mask.data[60, 120]
    assert len(viewer.layers) == 5
    assert session.commit()  # the answer was there: no model is needed
    session.wait(10)
    assert session.labels.data[60, 120] == 2 and session.controller.engine.at_hand.is_empty
    session.points.add([30, 80])  # the next prompt loads it again
    session.wait(10)
    assert session.mask.data[30, 80] and session.encode_count == 2


def test_prompts_that_wait_when_the_dock_is_closed_are_answered(opened, functions):
    viewer, _, session, hand = opened
    functions.gate.clear()
    session.image.data = np.ones(SIZE, np.uint8)
    for col in (40, 80):
        hand.click(60, col)
        hand.key("G")
    hand.click(60, 120)
    by_x_button(viewer)
    functions.gate.set()
    session.wait(10)
    assert [int(session.labels.data[60, col]) for col in (40, 80)] == [1, 2]
    assert session.mask.data[60, 120] and session.controller.engine.at_hand.is_empty


def test_nothing_is_encoded_while_nobody_looks(opened, functions):
    viewer, _, session, _ = opened
    by_script(viewer)
    session.wait(10)
    session.image.data = np.ones(SIZE, np.uint8)
    QTest.qWait(50)
    session.wait(10)
    assert session.encode_count == 1
    dock = reopen(viewer)
    assert dock.session is session
    session.wait(10)
    assert session.encode_count == 2 and not session.controller.engine.at_hand.is_empty


def test_hiding_the_dock_keeps_the_model(opened):
    viewer, dock, session, _ = opened
    before = watched(session)
    QTest.mouseClick(dock_widget(viewer).title.hide_button, Qt.MouseButton.LeftButton)
    session.wait(10)
    assert not dock.isVisible() and alive(before) == len(before)
    dock_widget(viewer).show()
    session.wait(10)
    assert session.encode_count == 1


def test_sessions_of_other_images_rest_too(opened):
    viewer, dock, session, _ = opened
    dock.image_box.value = viewer.add_image(np.zeros((50, 60)), name="other")
    other = dock.session
    other.wait(10)
    assert not session.controller.engine.at_hand.is_empty
    by_script(viewer)
    for one in (session, other):
        one.wait(10)
        assert one.controller.engine.at_hand.is_empty
    other.close()


def test_a_second_dock_keeps_its_session_awake(opened):
    viewer, _, session, _ = opened
    second = SegmentAnythingDock(viewer)
    viewer.window.add_dock_widget(second, name="second")
    assert second.session is session
    before = watched(session)
    by_script(viewer)
    session.wait(10)
    assert alive(before) == len(before)
