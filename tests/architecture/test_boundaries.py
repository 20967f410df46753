"""What the source may import, and that the contracts saying so cover every room."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "napari_segment_anything"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Distributions whose module has another name.
MODULES = {"pillow": "PIL", "scikit-image": "skimage"}

# An extra, and the only files that may import what it brings.
OPTIONAL = {"plot": {"evaluation/plot.py"}}


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports from outside the package."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def everything_imported() -> set[str]:
    return set().union(*(imported(path) for path in PACKAGE.rglob("*.py")))


def rooms() -> set[str]:
    inside = {p.stem for p in PACKAGE.glob("*.py")} | {
        p.parent.name for p in PACKAGE.glob("*/*.py")
    }
    return inside - {"__init__"}


def declared_as(dependencies: list[str]) -> set[str]:
    """The modules of declared distributions."""
    names = [re.match(r"[\w-]+", d)[0].lower() for d in dependencies]
    return {MODULES.get(name, name) for name in names}


def test_what_is_imported_is_declared():
    declared = declared_as(PROJECT["project"]["dependencies"])
    for extra, at in OPTIONAL.items():
        optional = declared_as(PROJECT["project"]["optional-dependencies"][extra])
        users = {p for p in PACKAGE.rglob("*.py") if imported(p) & optional}
        assert users == {PACKAGE / path for path in at}
        declared |= optional
    outside = everything_imported() - set(sys.stdlib_module_names) - {"napari_segment_anything"}
    assert outside >= {"torch", "napari"}  # the search finds something
    assert not outside - declared


def test_heavy_or_foreign_packages_stay_out():
    assert not everything_imported() & {"torchvision", "timm", "segment_anything", "micro_sam"}


def test_contracts_name_every_room():
    """A new room must be put under the contracts: a forbidden one lists its sources by name."""
    contracts = {c["name"]: c for c in PROJECT["tool"]["importlinter"]["contracts"]}
    layers = contracts["Arrows between the rooms"]
    assert layers["exhaustive"] is True
    named = {room for line in layers["layers"] for room in line.replace(" ", "").split("|")}
    assert named == rooms()
    for name, free in {
        "Qt is imported in widget only": {"widget"},
        "napari is imported in widget and viewer only": {"widget", "viewer"},
    }.items():
        sources = {s.rpartition(".")[2] for s in contracts[name]["source_modules"]}
        assert sources == rooms() - free, name
