"""Shared by all tests."""

from __future__ import annotations

import os

# User settings of napari and the user's cache of weights must not change what is tested.
os.environ.setdefault("NAPARI_CONFIG", "")
