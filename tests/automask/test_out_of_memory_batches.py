"""Whole-image segmentation in less memory than it asks for gives the same masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.pictures import *  # noqa: F403

from napari_segment_anything import auto_mask, encode, load_model, predict
from napari_segment_anything.inference.model import on_cpu
from napari_segment_anything.inference.out_of_memory import FittingBatches
