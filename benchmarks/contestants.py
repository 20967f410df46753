"""Who is measured: this package and the reference, with the same random weights and picture."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import torch
from tests.parity import timm_stand_in, torchvision_stand_in

from napari_segment_anything.automask.nms import nms
from napari_segment_anything.inference.model import Model
from napari_segment_anything.inference.runtime import pick_precision, to_precision
from napari_segment_anything.modeling.sizes import VIT_B, VIT_H, VIT_T, build_sam

CONFIGS = {"vit_b": VIT_B, "vit_h": VIT_H, "vit_t": VIT_T}
SIDE = 1024


def _same_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: Any, iou_threshold: float
) -> torch.Tensor:
    """For the reference, where torchvision is not: as quick as ours, so that it loses no time."""
    return nms(boxes, scores, iou_threshold)


def hugging_face() -> Any:
    """The `transformers` package, or None where it is not installed.

    To be called before the stand-ins are there, which it would take for what they stand for.
    """
    if importlib.util.find_spec("transformers") is None:
        return None
    package = importlib.import_module("transformers")
    return package if hasattr(package, "SamModel") else None


class Pair(NamedTuple):
    """The same weights in the reference's network and in ours."""

    reference: torch.nn.Module
    ours: Model


def picture(side: int = SIDE) -> np.ndarray:
    """Blobs of colour under noise, (side, side, 3) uint8."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    image = rng.normal(90, 12, (side, side, 3))
    for _ in range(60):
        (cy, cx), radius = rng.uniform(0, side, 2), rng.uniform(0.01, 0.08) * side
        image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] += rng.normal(0, 60, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def reference_package(name: str) -> Any:
    """``segment_anything``, or MobileSAM's package for vit_t."""
    torchvision_stand_in.install(_same_nms)
    timm_stand_in.install()
    return importlib.import_module("mobile_sam" if name == "vit_t" else "segment_anything")


def random_reference(name: str, seed: int = 0) -> torch.nn.Module:
    """The reference's network; tables that would start at zero are drawn, too."""
    torch.manual_seed(seed)
    sam: torch.nn.Module = reference_package(name).sam_model_registry[name]()
    for key, parameter in sam.named_parameters():
        if "rel_pos" in key or "pos_embed" in key or "attention_biases" in key:
            torch.nn.init.normal_(parameter, std=0.1)
        if "mask_decoder" in key and parameter.ndim >= 2:
            parameter.data *= 2.5  # so that masks differ from prompt to prompt
    return sam.eval().requires_grad_(False)


def ours(name: str, state: dict[str, torch.Tensor] | None = None, precision: str = "fp32") -> Model:
    """Our model on the CPU, of these weights or of random ones."""
    device = torch.device("cpu")
    sam = build_sam(CONFIGS[name]).eval().requires_grad_(False)
    if state is not None:
        sam.load_state_dict(state)
    choice = pick_precision(precision, device)
    to_precision(sam, choice.name)
    return Model(sam, name, device, choice.name, "random", precision_reason=choice.reason)


def pair(name: str, precision: str = "fp32") -> Pair:
    """Reference and ours."""
    reference = random_reference(name)
    return Pair(reference, ours(name, reference.state_dict(), precision))
