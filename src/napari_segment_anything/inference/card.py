"""What a model's makers say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelCard:
    """A sentence about a model, and settings that suit it.

    ``automask`` holds values of `AutoMaskSettings` that differ from the paper's defaults.
    ``least_foreground``: automatic segmentation asks where the encoder's dense head sees middles of
    objects, and leaves out grid points to which it gives less than this probability of being
    object; 0 asks the grid alone.
    """

    description: str = ""
    automask: Mapping[str, Any] = field(default_factory=dict)
    least_foreground: float = 0.0
