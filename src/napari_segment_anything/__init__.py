"""Segment Anything in napari: prompts from layers, masks into labels layers.

Names are loaded when they are first used: importing this package loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .automask.api import auto_mask
    from .config import AutoMaskSettings
    from .inference.model import Model
    from .inference.predictor import encode, predict
    from .structures import Embedding, MaskPrediction
    from .widget.attach import attach
    from .zoo.loader import load_model

__version__ = "0.1.0"

_HOMES = {
    "AutoMaskSettings": "config",
    "Embedding": "structures",
    "MaskPrediction": "structures",
    "Model": "inference.model",
    "attach": "widget.attach",
    "auto_mask": "automask.api",
    "encode": "inference.predictor",
    "load_model": "zoo.loader",
    "predict": "inference.predictor",
}

__all__ = [
    "AutoMaskSettings",
    "Embedding",
    "MaskPrediction",
    "Model",
    "attach",
    "auto_mask",
    "encode",
    "load_model",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
