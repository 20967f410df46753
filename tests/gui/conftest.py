"""A real viewer with the dock, fake functions, and a hand on the mouse."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from tests.fakes import FakeFunctions

from napari_segment_anything.core.engine import Engine


class Hand:
    """Real mouse events on the canvas, at (row, column) of the image."""

    def __init__(self, viewer) -> None:
        self.camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
        self.canvas = viewer.window._qt_viewer.canvas.native

    def place(self, row: float, col: float) -> QPoint:
        zoom, center = self.camera.zoom, self.camera.center
        x = (col - center[2]) * zoom + self.canvas.width() / 2
        y = (row - center[1]) * zoom + self.canvas.height() / 2
        return QPoint(round(x), round(y))

    def click(self, row: float, col: float) -> None:
        QTest.mouseMove(self.canvas, self.place(row, col))
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=self.place(row, col))

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        button = Qt.MouseButton.LeftButton
        QTest.mouseMove(self.canvas, self.place(*start))
        QTest.mousePress(self.canvas, button, pos=self.place(*start))
        for part in np.linspace(0, 1, 6):
            at = (1 - part) * np.array(start) + part * np.array(stop)
            QTest.mouseMove(self.canvas, self.place(*at))
            QTest.qWait(5)
        QTest.mouseRelease(self.canvas, button, pos=self.place(*stop))

    def key(self, letter: str) -> None:
        QTest.keyClick(self.canvas, letter.lower())


@pytest.fixture
def functions(monkeypatch):
    fake = FakeFunctions()
    monkeypatch.setattr("napari_segment_anything.widget.attach.Engine", lambda: Engine(fake))
    yield fake
    fake.gate.set()


@pytest.fixture
def opened(make_napari_viewer, functions):
    """(viewer, dock, session, hand) on a grey image of 120 x 160 pixels."""
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((120, 160), np.uint8), name="cells")
    _, dock = viewer.window.add_plugin_dock_widget("napari-segment-anything", "Segment Anything")
    dock.session.wait(20)
    QTest.qWait(100)
    yield viewer, dock, dock.session, Hand(viewer)
    dispatcher = dock.session.controller.dispatcher if dock.session else None
    if dock.session:
        dock.session.close()
    if dispatcher is not None:
        assert dispatcher.join(10)
