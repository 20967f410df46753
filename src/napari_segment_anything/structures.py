"""The few value types that cross rooms; frozen, documented, without behaviour of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .geometry.frames import ImageFrame

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]
"""``progress(done, total)``; an exception raised by it cancels the work."""


@dataclass(frozen=True)
class Prompt:
    """What a person says about one object, in image pixels.

    ``points_xy`` (N, 2) float, x then y. ``point_labels`` (N,) int, 1 foreground, 0 background.
    ``box_xyxy`` (4,) float, right and bottom exclusive. ``mask`` (H, W) bool or integer, non-zero
    is object, or float low-res logits of an earlier prediction on the same embedding.
    """

    points_xy: NDArray[np.floating] | None = None
    point_labels: NDArray[np.integer] | None = None
    box_xyxy: NDArray[np.floating] | None = None
    mask: NDArray[Any] | None = None

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to decode."""
        has_points = self.points_xy is not None and len(self.points_xy) > 0
        return not has_points and self.box_xyxy is None and self.mask is None

    def says_the_same(self, other: Prompt) -> bool:
        """True if all arrays are equal; a dataclass' own comparison cannot tell for arrays."""
        return all(
            a is b or (a is not None and b is not None and np.array_equal(a, b))
            for a, b in zip(vars(self).values(), vars(other).values(), strict=True)
        )


@dataclass(frozen=True)
class EmbeddedTile:
    """Encoder output, ``features`` (1, C, h, w), of one part of an image."""

    features: Tensor
    frame: ImageFrame
    origin_yx: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Embedding:
    """An encoded image. Opaque to callers: keep it and hand it back.

    ``frame`` is the whole image's, ``model_digest`` names the weights that made it.
    """

    frame: ImageFrame
    model_digest: str
    tiles: tuple[EmbeddedTile, ...]

    @property
    def nbytes(self) -> int:
        """Bytes held by the features."""
        return sum(t.features.numel() * t.features.element_size() for t in self.tiles)


@dataclass(frozen=True)
class EmbeddingKey:
    """What decides an embedding: the weights, the pixels (their hash), and how they are shown.

    ``runs_as`` is the device and precision: features made in one do not serve another.
    """

    model_digest: str
    pixels: str
    contrast_limits: tuple[float, float] | None
    runs_as: str


class MaskPrediction(NamedTuple):
    """Answer to one prompt, M = 1 or 3 candidates in the decoder's order.

    ``masks`` (M, H, W) bool at image size, ``iou`` (M,) float32 predicted, ``logits``
    (M, h, w) float32 at the decoder's size, to be fed back as the next prompt's mask.
    """

    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]
    logits: NDArray[np.float32]
