"""Every user setting, once: default, range, unit, label and help.

The dock builds its controls from here, and functions take their defaults from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from numbers import Real
from typing import Any


def _setting(default: Any, *, label: str, help: str, **limits: Any) -> Any:
    """A dataclass field that carries what a control needs to show it."""
    return field(default=default, metadata={"label": label, "help": help, **limits})


PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class ModelChoice:
    """Which model, where it runs, and how exactly it computes."""

    name: str = _setting(
        "nano", label="Model", help="A model's name, or the path of a checkpoint file."
    )
    device: str = _setting(
        "auto",
        label="Device",
        help="auto, cpu, cuda, cuda:N or mps; auto takes a GPU where there is one.",
    )
    precision: str = _setting(
        "auto",
        label="Precision",
        help="auto, fp32, bf16 or fp16; auto takes bf16 only where the hardware multiplies it.",
    )


@dataclass(frozen=True)
class AutoMaskSettings:
    """Whole-image segmentation; names and meanings are ``SamAutomaticMaskGenerator``'s."""

    points_per_side: int = _setting(
        32, label="Points per side", help="Grid of n x n prompts over the image.", min=1, max=512
    )
    points_per_batch: int = _setting(
        64,
        label="Points per batch",
        help="Prompts decoded together; fewer need less memory.",
        min=1,
        max=4096,
        advanced=True,
    )
    pred_iou_thresh: float = _setting(
        0.88,
        label="Predicted IoU",
        help="Drop masks the model itself rates below this.",
        min=0.0,
        max=1.0,
        step=0.01,
    )
    stability_score_thresh: float = _setting(
        0.95,
        label="Stability",
        help="Drop masks whose outline moves with the threshold.",
        min=0.0,
        max=1.0,
        step=0.01,
    )
    stability_score_offset: float = _setting(
        1.0,
        label="Stability offset",
        help="How far the threshold is moved, in logits.",
        min=0.0,
        max=10.0,
        step=0.1,
        advanced=True,
    )
    box_nms_thresh: float = _setting(
        0.7,
        label="Box NMS IoU",
        help="Of two masks with boxes above this IoU the better stays.",
        min=0.0,
        max=1.0,
        step=0.01,
    )
    crop_n_layers: int = _setting(
        0,
        label="Crop layers",
        help="Also run on 4^i overlapping crops in each layer i.",
        min=0,
        max=4,
    )
    crop_nms_thresh: float = _setting(
        0.7,
        label="Crop NMS IoU",
        help="As box NMS, between crops.",
        min=0.0,
        max=1.0,
        step=0.01,
        advanced=True,
    )
    crop_overlap_ratio: float = _setting(
        512 / 1500,
        label="Crop overlap",
        help="Overlap of crops, as a part of the image side.",
        min=0.0,
        max=1.0,
        step=0.01,
        advanced=True,
    )
    crop_n_points_downscale_factor: int = _setting(
        1,
        label="Crop points downscale",
        help="Points per side are divided by this per layer.",
        min=1,
        max=8,
        advanced=True,
    )
    min_mask_region_area: int = _setting(
        0,
        label="Minimum area",
        help="Drop islands and fill holes smaller than this.",
        min=0,
        max=1_000_000,
        unit="px",
    )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the settings, in the order in which a control panel shows them."""
        return tuple(f.name for f in fields(cls))

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> AutoMaskSettings:
        """Settings by name, each a number of its kind and in its range; the others' defaults.

        Raises:
            ValueError: an unknown name or an impossible value; the message says what can be.
        """
        known = {f.name: f for f in fields(cls)}
        unknown = sorted(values.keys() - known.keys())
        if unknown:
            raise ValueError(
                f"Expected settings out of {', '.join(known)}, got {', '.join(unknown)}."
            )
        return cls(**{name: _checked(known[name], value) for name, value in values.items()})


def _checked(setting: Field[Any], value: Any) -> Any:
    low, high = setting.metadata["min"], setting.metadata["max"]
    wants_int = isinstance(setting.default, int)
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (wants_int and value != int(value)):
        kind = "whole number" if wants_int else "number"
        raise ValueError(
            f"Expected {setting.name} as a {kind} from {low} to {high}, got {value!r}."
        )
    return int(value) if wants_int else float(value)
