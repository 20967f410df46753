"""Peak memory of a process that builds vit_b and does one piece of work; MiB.

    python -m benchmarks.peak_memory reference|ours encode|automask LEVEL SETTINGS

LEVEL is the mask threshold, SETTINGS the generator's settings as JSON.
"""

from __future__ import annotations

import json
import resource
import sys

import torch

import napari_segment_anything as nsa

from . import agreement, contestants


def main(who: str, work: str, level: str, settings: str) -> None:
    torch.set_grad_enabled(False)
    image, chosen = contestants.picture(), json.loads(settings)
    if who == "reference":
        package = contestants.reference_package("vit_b")
        sam = contestants.random_reference("vit_b")
        sam.mask_threshold = float(level)  # type: ignore[assignment]
        if work == "encode":
            package.SamPredictor(sam).set_image(image)
        else:
            package.SamAutomaticMaskGenerator(sam, **chosen).generate(image)
    else:
        model = contestants.ours("vit_b", None)
        model.sam.mask_threshold = float(level)
        if work == "encode":
            nsa.encode(model, image)
        else:
            agreement.records_of(model, image, chosen)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
