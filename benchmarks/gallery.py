"""What the built-in model makes of pictures that it was not made for: a figure.

    python -m benchmarks.gallery [--model nano] [--out docs/images/nano-gallery.jpg]

Above, whole-image segmentation of pictures that come with scikit-image, with default settings;
below, one click each, where the cross is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skimage import data, transform
from skimage.segmentation import mark_boundaries

from napari_segment_anything import auto_mask, encode, load_model, predict
from napari_segment_anything.inference.preprocess import to_rgb8

PICTURES = {
    "coins": (data.coins, (100, 53)),
    "cell": (data.cell, (413, 362)),
    "immunohistochemistry": (data.immunohistochemistry, (317, 378)),
    "hubble_deep_field": (data.hubble_deep_field, (465, 302)),
}
"""Picture, and the pixel (x, y) that is clicked once it is at most `LONGEST_PX` long."""

LONGEST_PX = 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--out", type=Path, default=Path("docs/images/nano-gallery.jpg"))
    chosen = parser.parse_args()
    model = load_model(chosen.model)
    figure, axes = plt.subplots(2, len(PICTURES), figsize=(4 * len(PICTURES), 8))
    for (name, (load, click_xy)), (above, below) in zip(PICTURES.items(), axes.T, strict=True):
        image = load()
        zoom = min(1.0, LONGEST_PX / max(image.shape[:2]))
        if zoom < 1:
            size = [round(n * zoom) for n in image.shape[:2]]
            image = (255 * transform.resize(image, size, anti_aliasing=True)).astype(np.uint8)
        shown = to_rgb8(image) / 255
        embedding = encode(model, image)
        labels, records = auto_mask(model, embedding)
        above.imshow(mark_boundaries(shown, labels, color=(1, 0.85, 0)))
        above.set_title(f"{name}: {len(records)} objects")
        found = predict(model, embedding, [click_xy], [1])
        best = int(found.iou.argmax())
        below.imshow(mark_boundaries(shown, found.masks[best].astype(int), color=(1, 0.2, 0.8)))
        below.plot(*click_xy, "+", color="white", markersize=12, markeredgewidth=2)
        below.set_title(f"one click, rated {found.iou[best]:.2f}")
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(chosen.out, dpi=70)


if __name__ == "__main__":
    main()
