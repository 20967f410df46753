"""Crops for a run, by number: the number and the seed decide a crop, so that a run can resume."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from skimage.segmentation import relabel_sequential
from torch import Tensor

from ..inference.model import natural_zoom
from ..inference.noise import quieted
from ..inference.preprocess import to_rgb8
from ..io.labelled import LabelledImage
from ..modeling.sam import Sam
from .augment import augment_pixels
from .data import Crop, CropSettings, cut_crop, image_kind, stacked
from .settings import FitSettings
from .synthesis import Rng, Scene

T = TypeVar("T")
AHEAD = 2
"""Batches that are made while the model works on one."""


def scene_of(image: LabelledImage, smooth: bool = False) -> Scene:
    """An image as an encoder sees it, with its labels counted anew from 1.

    ``smooth``: as `encode` shows a noisy one to an encoder of any size.

    Raises:
        ValueError: pixels that cannot be an image; the message names it.
    """
    try:
        pixels = to_rgb8(image.pixels)
    except ValueError as error:
        raise ValueError(f"{image.name}: {error}") from error
    if pixels.shape[:2] != image.labels.shape:
        raise ValueError(
            f"{image.name}: expected labels {pixels.shape[:2]}, the size of the image, "
            f"got {image.labels.shape}."
        )
    if smooth:
        pixels = quieted(pixels)
    labels = relabel_sequential(image.labels)[0].astype(np.int32)
    return Scene(pixels, labels, image_kind(pixels))


def turned(scene: Scene, rng: Rng) -> Scene:
    """The scene after random quarter turns and mirroring."""
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
    image, labels = np.rot90(scene.image, turns), np.rot90(scene.labels, turns)
    if mirror:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return Scene(image, labels, scene.kind)


@dataclass(frozen=True)
class CropSource:
    """Crop number -> crop of one of ``scenes``, each of which comes as often as the others.

    ``square_px`` is the side of the square that a ViT's crops are enlarged to; 0 for encoders of
    any size, whose images are seen at `natural_zoom`.
    """

    scenes: Sequence[Scene]
    settings: FitSettings
    square_px: int = 0

    def __call__(self, number: int) -> Crop:
        """The crop of that number."""
        seed, count = self.settings.seed, len(self.scenes)
        order = np.random.default_rng((seed, 3, number // count)).permutation(count)
        rng = np.random.default_rng((seed, 2, number))
        # Turned before it is cut, so that padding lies where it does in use: at right and bottom.
        scene = turned(self.scenes[order[number % count]], rng)
        crop = cut_crop(scene, rng, self._shape, self.zoom(scene))
        if rng.random() < self.settings.augment:
            return Crop(augment_pixels(rng, crop.image) * crop.inside, crop.inside, crop.labels)
        return crop

    @property
    def _shape(self) -> CropSettings:
        return CropSettings(self.square_px or self._crop_px, self.settings.zoom_spread)

    @property
    def _crop_px(self) -> int:
        crop_px = self.settings.crop_px
        if crop_px is None:
            raise ValueError("Expected settled settings, got a crop without a size.")
        return crop_px

    def zoom(self, scene: Scene) -> float:
        """Model pixels per image pixel around which a scene's crops are drawn."""
        size_hw = (scene.labels.shape[0], scene.labels.shape[1])
        if not self.square_px:
            return natural_zoom(size_hw)
        # A smaller image fills the square, as it does when it is encoded as a whole.
        return float(self.square_px / min(self._crop_px, max(size_hw)))


@dataclass(frozen=True)
class Encoded:
    """``features`` (B, C, h, w) of crops, on the model's device, and ``labels`` (B, S, S)."""

    features: Tensor
    labels: Tensor


def encoded(sam: Sam, crops: Crop) -> Encoded:
    """The embedding of a batch of crops, in fp32; gradients as the context and the encoder want."""
    device = sam.device
    pixels = (crops.image.to(device) - sam.pixel_mean) / sam.pixel_std * crops.inside.to(device)
    features: Tensor = sam.image_encoder(pixels)
    return Encoded(features.float(), crops.labels)


class CropCache:
    """Embeddings of crops 0 to ``count - 1``, each made when it is first asked for, and kept.

    For encoders that are not trained; crop number n is crop n modulo ``count``.
    """

    def __init__(
        self, source: Callable[[int], Crop], count: int, encode: Callable[[Crop], Encoded]
    ):
        self._source, self._count, self._encode = source, count, encode
        self._kept: dict[int, Encoded] = {}

    def batch(self, numbers: Sequence[int]) -> Encoded:
        """The crops of these numbers."""
        parts = [self._one(number % self._count) for number in numbers]
        return Encoded(torch.cat([p.features for p in parts]), torch.cat([p.labels for p in parts]))

    def _one(self, number: int) -> Encoded:
        if number not in self._kept:
            made = self._encode(stacked([self._source(number)]))
            self._kept[number] = Encoded(made.features, made.labels.to(torch.int32))
        return self._kept[number]


def ahead(make: Callable[[int], T], numbers: Iterable[int]) -> Iterator[T]:
    """``make`` of each number in turn, a few of them in a thread beside the one in use."""
    with ThreadPoolExecutor(1, "crops") as pool:
        waiting: deque[Future[T]] = deque()
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
