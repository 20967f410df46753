"""A person's first minutes, played with real mouse events in a real napari window.

Opens a picture of stained tissue that ships with scikit-image, clicks on nuclei, draws a box,
refines one object, commits, and segments the rest. Writes demo/screenshot.png and
demo/labels.tif beside this file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import napari
import numpy as np
import tifffile
from napari.layers import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from skimage import data

import napari_segment_anything as nsa

HERE = Path(__file__).parent
CLICKS_XY = [(188, 359), (215, 426), (182, 393)]
BOX_XY = ((188, 443), (205, 461))
REFINE_XY = (188, 362)
LAST_XY = (173, 424)
VIEW = {"center": (405, 195), "zoom": 4.0}


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what was done and how long it took."""
    start = time.perf_counter()
    yield
    print(f"{time.perf_counter() - start:6.2f} s  {what}", flush=True)


def camera_of(viewer: napari.Viewer) -> Any:
    """The camera, where napari keeps it since 0.9 or where it was before."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


class Hand:
    """A mouse over the canvas; positions are (x, y) pixels of the image."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.viewer = viewer
        self.canvas = viewer.window._qt_viewer.canvas.native

    def place(self, at_xy: tuple[float, float]) -> QPoint:
        camera = camera_of(self.viewer)
        middle = self.canvas.width() / 2, self.canvas.height() / 2
        x = (at_xy[0] - camera.center[2]) * camera.zoom + middle[0]
        y = (at_xy[1] - camera.center[1]) * camera.zoom + middle[1]
        return QPoint(round(x), round(y))

    def click(self, at_xy: tuple[float, float]) -> None:
        QTest.mouseMove(self.canvas, self.place(at_xy))
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, pos=self.place(at_xy))

    def drag(self, start_xy: tuple[float, float], stop_xy: tuple[float, float]) -> None:
        button = Qt.MouseButton.LeftButton
        QTest.mouseMove(self.canvas, self.place(start_xy))
        QTest.mousePress(self.canvas, button, pos=self.place(start_xy))
        for part in np.linspace(0, 1, 8):
            between = tuple((1 - part) * np.array(start_xy) + part * np.array(stop_xy))
            QTest.mouseMove(self.canvas, self.place(between))
            QTest.qWait(10)
        QTest.mouseRelease(self.canvas, button, pos=self.place(stop_xy))


def main() -> None:
    with step("opened napari with an image"):
        viewer = napari.Viewer(show_welcome_screen=False)
        viewer.window._qt_window.resize(1280, 800)
        image = viewer.add_image(data.immunohistochemistry(), name="tissue")
        assert isinstance(image, Image)
        QTest.qWait(200)
    with step("opened the dock; nano is loaded and the image encoded"):
        dock = viewer.window.add_plugin_dock_widget("napari-segment-anything", "Segment Anything")
        session = nsa.attach(viewer, image)
        session.wait(120)
        assert dock[1].session is session
    QTest.qWait(300)
    camera_of(viewer).center, camera_of(viewer).zoom = VIEW["center"], VIEW["zoom"]
    QTest.qWait(300)
    hand = Hand(viewer)
    for at in CLICKS_XY:
        with step(f"clicked at {at}: mask"):
            hand.click(at)
            session.wait(30)
        print(f"          {session.mask.data.sum()} px, predicted IoU {session.predicted_iou:.2f}")
        assert session.commit()
        session.wait(30)
    with step(f"dragged a box from {BOX_XY[0]} to {BOX_XY[1]}: mask"):
        viewer.layers.selection.active = session.shapes
        session.shapes.mode = "add_rectangle"
        hand.drag(*BOX_XY)
        session.wait(30)
    print(f"          {session.mask.data.sum()} px, predicted IoU {session.predicted_iou:.2f}")
    assert session.commit()
    session.wait(30)
    with step("took object 1 as a mask prompt, added a point, committed it again"):
        viewer.layers.selection.active = session.points
        before = int((session.labels.data == 1).sum())
        session.refine(1)
        hand.click(REFINE_XY)
        session.wait(30)
        session.commit()
        session.wait(30)
    print(f"          object 1: {before} -> {int((session.labels.data == 1).sum())} px")
    drawn = int(session.labels.data.max())
    with step("segmented everything else"):
        session.auto_mask()
        session.wait(300)
    print(f"          {drawn} objects by hand, {int(session.labels.data.max()) - drawn} found")
    hand.click(LAST_XY)
    session.wait(30)
    viewer.layers.selection.active = session.points
    QTest.qWait(500)
    viewer.screenshot(str(HERE / "screenshot.png"), canvas_only=False, flash=False)
    tifffile.imwrite(HERE / "labels.tif", session.labels.data, compression="zlib")
    print(f"wrote {HERE / 'screenshot.png'} and {HERE / 'labels.tif'}")
    viewer.close()


if __name__ == "__main__":
    main()
