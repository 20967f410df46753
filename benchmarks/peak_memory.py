"""Peak memory of a process that builds vit_b and does one piece of work; MiB.

    python -m benchmarks.peak_memory reference|ours encode|automask LEVEL SETTINGS

LEVEL is the mask threshold, SETTINGS the generator's settings as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

import napari_segment_anything as nsa

from . import agreement, contestants


def peak_mib() -> float:
    """Most memory that this process has held since it began.

    Linux keeps in ``ru_maxrss`` what the process held that started this one, if that was more.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
    print(peak_mib())


if __name__ == "__main__":
    main(*sys.argv[1:])
