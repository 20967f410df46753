"""Plots take longer than the small runs that they show: tests that want one ask for it."""

from __future__ import annotations

import pytest

from napari_segment_anything.training import run


@pytest.fixture(scope="session", autouse=True)
def _no_plots():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "write_curves", lambda *_: False)
        yield
