"""Four names of timm that MobileSAM's package imports without declaring them.

timm brings torchvision and a hub's client; only what the reference calls is here.
"""

from __future__ import annotations

import sys
import types

import torch


class DropPath(torch.nn.Identity):
    """MobileSAM drops no paths, and its own subclass needs this name to derive from."""


def to_2tuple(side: int) -> tuple[int, int]:
    return side, side


def register_model(build):
    return build


def install() -> None:
    """Put the stand-in where ``import timm`` finds it, unless the real one imports."""
    try:
        import timm.models.layers
        import timm.models.registry  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        layers = {
            "DropPath": DropPath,
            "to_2tuple": to_2tuple,
            "trunc_normal_": torch.nn.init.trunc_normal_,
        }
        names = {
            "timm": {},
            "timm.models": {},
            "timm.models.layers": layers,
            "timm.models.registry": {"register_model": register_model},
        }
        for name, contents in names.items():
            module = types.ModuleType(name)
            vars(module).update(contents)
            sys.modules[name] = module
