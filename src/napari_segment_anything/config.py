"""Every user setting, once: default, range, unit, label and help.

The dock builds its controls from here, and functions take their defaults from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .settings import checked, setting

_PROMPTED = ("prompts", "grid")

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

AUTO_MASK_MODES = ("auto", "decoder", "prompts", "grid")
"""Ways to segment a whole image; ``auto`` is what a model does best."""


@dataclass(frozen=True)
class ModelChoice:
    """Which model, where it runs, and how exactly it computes."""

    name: str = setting(
        "nano", label="Model", help="A model's name, or the path of a checkpoint file."
    )
    device: str = setting(
        "auto",
        label="Device",
        help="auto, cpu, cuda, cuda:N or mps; auto takes a GPU where there is one.",
    )
    precision: str = setting(
        "auto",
        label="Precision",
        help="auto, fp32, bf16 or fp16; auto takes bf16 only where the hardware multiplies it.",
    )


@dataclass(frozen=True)
class AutoMaskSettings:
    """Whole-image segmentation.

    Names and meanings are ``SamAutomaticMaskGenerator``'s, and for the decoder micro-sam's. The
    metadata ``modes`` says for which modes a control is of use; none: for all.
    """

    mode: str = setting(
        "auto",
        label="Mode",
        help="decoder: a watershed of the decoder's maps; prompts: a point where the model sees an "
        "object; grid: points all over the image; auto: what the model does best.",
        choices=AUTO_MASK_MODES,
    )
    points_per_side: int = setting(
        32,
        label="Points per side",
        help="Grid of n x n prompts over the image.",
        min=1,
        max=512,
        modes=("grid",),
    )
    points_per_batch: int = setting(
        64,
        label="Points per batch",
        help="Prompts decoded together; fewer need less memory.",
        min=1,
        max=4096,
        advanced=True,
    )
    pred_iou_thresh: float = setting(
        0.88,
        label="Predicted IoU",
        help="Drop masks the model itself rates below this.",
        min=0.0,
        max=1.0,
        step=0.01,
        modes=_PROMPTED,
    )
    stability_score_thresh: float = setting(
        0.95,
        label="Stability",
        help="Drop masks whose outline moves with the threshold.",
        min=0.0,
        max=1.0,
        step=0.01,
        modes=_PROMPTED,
    )
    stability_score_offset: float = setting(
        1.0,
        label="Stability offset",
        help="How far the threshold is moved, in logits.",
        min=0.0,
        max=10.0,
        step=0.1,
        advanced=True,
    )
    box_nms_thresh: float = setting(
        0.7,
        label="Box NMS IoU",
        help="Of two masks with boxes above this IoU the better stays.",
        min=0.0,
        max=1.0,
        step=0.01,
        modes=_PROMPTED,
    )
    crop_n_layers: int = setting(
        0,
        label="Crop layers",
        help="Also run on 4^i overlapping crops in each layer i.",
        min=0,
        max=4,
        modes=_PROMPTED,
    )
    crop_nms_thresh: float = setting(
        0.7,
        label="Crop NMS IoU",
        help="As box NMS, between crops.",
        min=0.0,
        max=1.0,
        step=0.01,
        advanced=True,
    )
    crop_overlap_ratio: float = setting(
        512 / 1500,
        label="Crop overlap",
        help="Overlap of crops, as a part of the image side.",
        min=0.0,
        max=1.0,
        step=0.01,
        advanced=True,
    )
    crop_n_points_downscale_factor: int = setting(
        1,
        label="Crop points downscale",
        help="Points per side are divided by this per layer.",
        min=1,
        max=8,
        advanced=True,
    )
    min_mask_region_area: int = setting(
        0,
        label="Minimum area",
        help="Drop islands and fill holes smaller than this; decoder: drop objects.",
        min=0,
        max=1_000_000,
        unit="px",
    )
    foreground_threshold: float = setting(
        0.5,
        label="Foreground",
        help="Decoder: pixels above this belong to objects.",
        min=0.0,
        max=1.0,
        step=0.01,
        modes=("decoder",),
    )
    center_distance_threshold: float = setting(
        0.5,
        label="Centre distance",
        help="Decoder: a seed is nearer to its object's centre than this; lower splits more.",
        min=0.0,
        max=1.0,
        step=0.01,
        modes=("decoder",),
    )
    boundary_distance_threshold: float = setting(
        0.5,
        label="Boundary distance",
        help="Decoder: a seed lies deeper in its object than this, 1 at the boundary; lower "
        "splits more.",
        min=0.0,
        max=1.0,
        step=0.01,
        modes=("decoder",),
    )
    foreground_smoothing: float = setting(
        1.0,
        label="Foreground smoothing",
        help="Decoder: sigma of a Gaussian over the foreground.",
        min=0.0,
        max=20.0,
        step=0.1,
        unit="px",
        advanced=True,
    )
    distance_smoothing: float = setting(
        1.6,
        label="Distance smoothing",
        help="Decoder: sigma of a Gaussian over both distances.",
        min=0.0,
        max=20.0,
        step=0.1,
        unit="px",
        advanced=True,
    )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the settings, in the order in which a control panel shows them."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> AutoMaskSettings:
        """Settings by name, each of its kind and in its range; the others are the defaults.

        Raises:
            ValueError: an unknown name or an impossible value; the message says what can be.
        """
        known = {f.name: f for f in fields(cls)}
        unknown = sorted(values.keys() - known.keys())
        if unknown:
            raise ValueError(
                f"Expected settings out of {', '.join(known)}, got {', '.join(unknown)}."
            )
        return cls(**{name: checked(known[name], value) for name, value in values.items()})
