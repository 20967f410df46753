"""Checks on the installed wheel: it is discovered, it is light, it segments."""

import subprocess
import sys
from importlib.metadata import distribution

import numpy as np
from npe2 import PluginManager

NAME = "napari-segment-anything"

manager = PluginManager.instance()
manager.discover()
manifest = manager.get_manifest(NAME)
assert manifest.name == distribution(NAME).metadata["Name"] == NAME
widgets = [w.display_name for w in manifest.contributions.widgets]
assert widgets == ["Segment Anything"], widgets

heavy = "torch", "qtpy", "napari"
code = f"import sys, napari_segment_anything; print([m for m in {heavy} if m in sys.modules])"
loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
assert loaded.stdout.strip() == "[]", loaded.stdout

import napari_segment_anything as nsa  # noqa: E402

assert "site-packages" in nsa.__file__, nsa.__file__
y, x = np.mgrid[:128, :128]
disk = (y - 60) ** 2 + (x - 70) ** 2 < 15**2
model = nsa.load_model()
answer = nsa.predict(model, nsa.encode(model, 30.0 + 150 * disk), [[70, 60]], [1])
mask = answer.masks[answer.iou.argmax()]
iou = (mask & disk).sum() / (mask | disk).sum()
assert iou > 0.8, iou
print(f"wheel: discovered, light to import, and nano finds a disk at IoU {iou:.2f}")
