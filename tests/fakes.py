"""Stand-ins for the four public functions: quick, counted, and right by construction."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

from napari_segment_anything.structures import MaskPrediction

RADII = (4, 8, 6)
RATINGS = (0.5, 0.9, 0.7)


def disk(size_hw: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: size_hw[0], : size_hw[1]]
    return (rows - y) ** 2 + (cols - x) ** 2 <= radius**2


class Thing(SimpleNamespace):
    """A namespace that can be referred to weakly."""


class Device(Thing):
    """Looks like torch's."""

    def __str__(self) -> str:
        return self.type


def fake_model(name: str, device: str = "auto", precision: str = "auto") -> Thing:
    return Thing(
        name=name,
        digest=name,
        encodes_any_size=not name.startswith("vit"),
        card=SimpleNamespace(automask={}),
        modes=("auto", "grid"),
        does_by_itself=("grid",),
        device=Device(type="cpu" if device == "auto" else device),
        precision="fp32" if precision == "auto" else precision,
        precision_reason="no native bf16 here" if precision == "auto" else "as asked",
    )


class FakeFunctions:
    """Masks are disks around foreground points, without those around background points.

    ``gate`` blocks the encoder while it is cleared; models called "broken..." cannot be loaded.
    """

    def __init__(self) -> None:
        self.encoded: list[np.ndarray] = []
        self.predictions = 0
        self.gate = threading.Event()
        self.gate.set()
        self.fail_next: Exception | None = None

    def load_model(
        self, name: str, device: str = "auto", precision: str = "auto", *, progress: Any = None
    ) -> Any:
        if name.startswith("broken"):
            raise ValueError(f"Expected a model, {name} is broken.")
        return fake_model(name, device, precision)

    def on_cpu(self, model: Any) -> Any:
        return fake_model(model.name)

    def encode(self, model: Any, image: Any, *, contrast_limits: Any, progress: Any) -> Any:
        for done in range(1000):
            progress(done, 1000)
            if self.gate.wait(0.01):
                break
        self.encoded.append(np.array(image))
        return Thing(size_hw=image.shape[:2], nbytes=100)

    def predict(self, model, embedding, points_xy, labels, box, mask) -> MaskPrediction:
        self.predictions += 1
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        size = embedding.size_hw
        single = points_xy is not None and len(points_xy) == 1 and box is None and mask is None
        out = []
        for radius in RADII if single else RADII[1:2]:
            found = np.zeros(size, bool) if mask is None else np.array(mask, bool)
            if box is not None and mask is None:
                x0, y0, x1, y1 = np.round(box).astype(int)
                found[y0:y1, x0:x1] = True
            points = [] if points_xy is None else list(zip(points_xy, labels, strict=True))
            for (x, y), label in sorted(points, key=lambda p: -p[1]):
                found = np.where(disk(size, x, y, radius), bool(label), found)
            out.append(found)
        ratings = RATINGS if single else RATINGS[1:2]
        low = np.zeros((len(out), 4, 4), np.float32)
        return MaskPrediction(np.stack(out), np.array(ratings, np.float32), low)

    def auto_mask(self, model: Any, image: Any, *, progress: Any, **settings: Any) -> Any:
        size = image.size_hw
        labels = np.zeros(size, np.int32)
        labels[2:8, 2:8], labels[2:8, 12:18] = 1, 2
        progress(1, 1)
        record = {"predicted_iou": 0.8, "stability_score": 0.9}
        return labels, [record, {**record, "predicted_iou": 0.7}]
