"""The package as a plugin and as an import: manifest, lazy names, what may not be needed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import npe2
import pytest

import napari_segment_anything

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "napari_segment_anything"


def test_manifest_is_one_file_in_two_places():
    assert (ROOT / "napari.yaml").read_bytes() == (PACKAGE / "napari.yaml").read_bytes()


def test_manifest_commands_import_and_menus_name_them():
    manifest = npe2.PluginManifest.from_file(PACKAGE / "napari.yaml")
    assert manifest.name == "napari-segment-anything"
    commands = {c.id: c.python_name for c in manifest.contributions.commands}
    for python_name in commands.values():
        module, _, name = python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    assert [w.command for w in manifest.contributions.widgets] == list(commands)


def test_the_command_is_there():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["napari-segment-anything"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def loaded_after(code: str) -> set[str]:
    report = f"import sys; {code}; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_import_is_light():
    modules = loaded_after("import napari_segment_anything")
    assert not modules & {"torch", "napari", "qtpy", "magicgui", "numpy", "skimage"}


def test_the_command_line_answers_before_torch_is_loaded():
    modules = loaded_after("import napari_segment_anything.cli.main")
    assert not modules & {"torch", "napari", "qtpy", "numpy", "PIL", "rich"}


def test_public_functions_need_no_qt():
    names = "load_model, encode, predict, auto_mask"
    modules = loaded_after(f"from napari_segment_anything import {names}")
    assert not modules & {"qtpy", "napari", "PyQt6", "PyQt5", "PySide6"}


@pytest.mark.parametrize("name", napari_segment_anything.__all__)
def test_public_names_resolve(name):
    assert getattr(napari_segment_anything, name).__doc__
    assert name in dir(napari_segment_anything)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = napari_segment_anything.nothing


def test_dependencies_leave_the_choice_of_qt_to_the_user():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {d.split(">")[0].split("=")[0].lower() for d in project["dependencies"]}
    assert not names & {"pyqt5", "pyqt6", "pyside2", "pyside6", "torchvision", "timm"}
    assert not any("[" in d for d in project["dependencies"])


def test_nano_is_small_and_inside():
    weights = resources.files("napari_segment_anything.zoo") / "weights" / "nano.safetensors"
    assert 1_000_000 < Path(str(weights)).stat().st_size <= 10_000_000
