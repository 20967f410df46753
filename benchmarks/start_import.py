"""Seconds that ``import napari_segment_anything`` takes in a fresh process."""

from __future__ import annotations

import time

start = time.perf_counter()
import napari_segment_anything  # noqa: E402, F401

print(time.perf_counter() - start)
