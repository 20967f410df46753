"""A session on fake functions: no torch, no Qt, no napari."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.core.stage import Canvas, drain
from tests.fakes import FakeFunctions

from napari_segment_anything.core.dispatch import InlineDispatcher
from napari_segment_anything.core.engine import Engine
from napari_segment_anything.core.session import Session


@pytest.fixture
def play():
    """``session``, ``canvas``, ``functions``, ``dispatcher``; ``drain()`` works everything off."""
    functions, canvas, dispatcher = FakeFunctions(), Canvas(), InlineDispatcher()
    session = Session(Engine(functions), dispatcher, canvas)
    return SimpleNamespace(
        session=session,
        canvas=canvas,
        functions=functions,
        dispatcher=dispatcher,
        drain=lambda: drain(session, dispatcher),
    )
