"""What a model's makers say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelCard:
    """A sentence about a model, and settings that suit it.

    ``automask`` holds values of `AutoMaskSettings` that differ from the paper's defaults.
    """

    description: str = ""
    automask: Mapping[str, Any] = field(default_factory=dict)
