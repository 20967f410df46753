"""Seconds from opening the dock to the first click's mask, in a window with an image.

The window is open and shows its image; torch has not been imported. The click comes at once.
"""

from __future__ import annotations

import sys
import time

import napari
import numpy as np
from qtpy.QtWidgets import QApplication


def main() -> None:
    viewer = napari.Viewer()
    y, x = np.mgrid[:512, :512]
    viewer.add_image(np.where((y - 200) ** 2 + (x - 300) ** 2 < 30**2, 200, 30).astype(np.uint8))
    until = time.perf_counter() + 2
    while time.perf_counter() < until:  # the window is drawn
        QApplication.processEvents()
    if "torch" in sys.modules:
        raise SystemExit("Expected torch not to be imported yet.")
    start = time.perf_counter()
    _, dock = viewer.window.add_plugin_dock_widget("napari-segment-anything", "Segment Anything")
    QApplication.processEvents()
    dock.session.points.add((200, 300))
    while not dock.session.mask.data.any():
        QApplication.processEvents()
        time.sleep(0.002)
    print(time.perf_counter() - start)
    viewer.close()


if __name__ == "__main__":
    main()
