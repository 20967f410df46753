"""Does the window stay alive while a large model encodes?

    xvfb-run -a python benchmarks/responsiveness.py

Attaches a session with a random-weight vit_b to a 1024 x 1024 image in a real napari window, and
records the longest gap between two turns of the Qt event loop until the encoder is done.
Target: under 100 ms.
"""

from __future__ import annotations

import time

import napari
import numpy as np
import torch
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

import napari_segment_anything as nsa
from napari_segment_anything.modeling.sizes import VIT_B, build_sam


def main() -> None:
    torch.manual_seed(0)
    sam = build_sam(VIT_B).eval().requires_grad_(False)
    model = nsa.Model(sam, "vit_b", torch.device("cpu"), "fp32", "random weights")
    viewer = napari.Viewer(show_welcome_screen=False)
    image = viewer.add_image(np.random.default_rng(0).random((1024, 1024)), name="noise")
    for _ in range(50):
        QApplication.processEvents()
        time.sleep(0.01)
    turns: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: turns.append(time.perf_counter()))
    timer.start(0)
    start = time.perf_counter()
    session = nsa.attach(viewer, image, model)
    attached = time.perf_counter()
    while session.controller.session.is_busy:
        QApplication.processEvents()
    stop = time.perf_counter()
    timer.stop()
    gaps = np.diff([t for t in turns if t >= attached]) * 1000
    print(f"attach took {attached - start:.2f} s, encoding {stop - attached:.1f} s")
    print(f"{len(gaps)} turns of the event loop; longest gap {gaps.max():.0f} ms, ", end="")
    print(f"99th percentile {np.percentile(gaps, 99):.1f} ms; target 100 ms")
    session.close()
    viewer.close()


if __name__ == "__main__":
    main()
