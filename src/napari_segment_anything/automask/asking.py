"""Where a model is asked: at seeds that its maps show, on the grid, or at seeds first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..config import AutoMaskSettings
from ..inference.decoding import decode_points
from ..inference.dense_maps import dense_maps
from ..inference.instance_maps import instance_maps
from ..inference.model import Model
from ..structures import Embedding
from .generator import EncodedCrop, Points
from .watershed import find_seeds


def steps_of(model: Model, settings: AutoMaskSettings) -> tuple[str, ...]:
    """The modes by which the model segments an image, in turn."""
    return model.does_by_itself if settings.mode == "auto" else (settings.mode,)


def encoded_crop(
    model: Model, embedding: Embedding, settings: AutoMaskSettings, tick: Callable[[], None]
) -> EncodedCrop:
    """How points of an encoded image are decoded, and what the model's maps say of where to ask.

    ``tick`` is called now and then; an exception from it cancels.
    """
    decode = partial(decode_points, model, embedding)
    steps = steps_of(model, settings)
    if "prompts" not in steps:
        return EncodedCrop(decode)
    maps = instance_maps(model, embedding, lambda _done, _total: tick())
    if maps is not None:
        return EncodedCrop(decode, find_seeds(maps, settings).middles_xy(), nowhere)
    dense = dense_maps(model, embedding)
    if dense is None:
        return EncodedCrop(decode)
    if "grid" not in steps:
        return EncodedCrop(decode, dense.seeds_xy(), nowhere)
    least = model.card.least_foreground
    return EncodedCrop(decode, dense.seeds_xy(), lambda xy: dense.foreground_at(xy) >= least)


def nowhere(points_xy: Points) -> NDArray[np.bool_]:
    """(N, 2) points of a grid -> (N,): none is worth asking."""
    return np.zeros(len(points_xy), bool)
