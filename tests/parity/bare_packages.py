"""Modules of a package without its ``__init__``: what that imports need not be installed.

torch-em and python-elf import all of their parts, and those tensorboard, kornia, bioimageio and
more; the parity tests need a handful of modules.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path


def find(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    for folder in sys.path:
        place = Path(folder or ".") / name.replace(".", "/")
        if (place / "__init__.py").is_file():
            return place
    return None


def install(name: str, **contents: object) -> None:
    """Put an empty package where ``import name`` finds it and, through it, its real modules."""
    place = find(name)
    if place is None:
        raise ImportError(f"Expected {name} to be installed, found no folder of it.")
    module = types.ModuleType(name)
    module.__path__ = [str(place)]  # type: ignore[attr-defined]
    vars(module).update(contents)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
