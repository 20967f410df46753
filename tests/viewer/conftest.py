"""A viewer model without Qt, the built-in model, and sessions on fake functions."""

from __future__ import annotations

import pytest
from napari.components import ViewerModel
from tests.fakes import FakeFunctions

from napari_segment_anything import attach, load_model
from napari_segment_anything.core.dispatch import InlineDispatcher
from napari_segment_anything.core.engine import Engine


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    """Work is queued, as where no application runs, even if another test has started one."""
    monkeypatch.setattr("napari_segment_anything.widget.attach.make_dispatcher", InlineDispatcher)


@pytest.fixture(scope="session")
def nano():
    return load_model("nano", device="cpu", precision="fp32")


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def quick(viewer, monkeypatch):
    """A session on fake functions: masks are disks of radius 8 around clicks."""
    functions = FakeFunctions()
    monkeypatch.setattr("napari_segment_anything.widget.attach.Engine", lambda: Engine(functions))

    def start(data, **options):
        image = viewer.add_image(data, name="cells", **options)
        session = attach(viewer, image, "fake")
        session.functions = functions
        session.wait(5)
        return session

    return start
