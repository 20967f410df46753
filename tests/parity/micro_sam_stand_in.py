"""micro-sam's automatic segmentation, its training targets and loss, imported from its packages.

They are no dependency of this project: install ``micro_sam``, ``torch_em``, ``python-elf`` and
``bioimage-cpp`` (with ``--no-deps``), and the few that an import error names, to have these tests.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest

from . import bare_packages, torchvision_stand_in

NEEDED = ("micro_sam", "torch_em", "elf", "bioimage_cpp")


def reference() -> SimpleNamespace:
    """The reference's classes by name; skips where the packages are absent."""
    missing = [name for name in NEEDED if bare_packages.find(name) is None]
    if missing:
        pytest.skip(f"without {', '.join(missing)}", allow_module_level=True)
    torchvision_stand_in.install()
    for name in ("torch_em", "torch_em.model", "torch_em.util", "torch_em.transform"):
        bare_packages.install(name)
    for name in ("torch_em.loss", "elf", "elf.segmentation"):
        bare_packages.install(name)
    unetr = importlib.import_module("torch_em.model.unetr")
    arrays = importlib.import_module("torch_em.util.util")
    bare_packages.install("torch_em.model", UNETR=unetr.UNETR)
    bare_packages.install(
        "torch_em.util",
        ensure_array=arrays.ensure_array,
        ensure_spatial_array=arrays.ensure_spatial_array,
    )
    segmentation = importlib.import_module("micro_sam.instance_segmentation")
    targets = importlib.import_module("torch_em.transform.label")
    losses = importlib.import_module("torch_em.loss.distance_based")
    return SimpleNamespace(
        get_unetr=segmentation.get_unetr,
        DecoderAdapter=segmentation.DecoderAdapter,
        InstanceSegmentationWithDecoder=segmentation.InstanceSegmentationWithDecoder,
        UNETR=unetr.UNETR,
        PerObjectDistanceTransform=targets.PerObjectDistanceTransform,
        DiceBasedDistanceLoss=losses.DiceBasedDistanceLoss,
    )
