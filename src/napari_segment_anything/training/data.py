"""Labelled images -> training crops with their objects, at the scale at which the model works."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.io import imread
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..inference.model import natural_zoom
from ..inference.noise import quieted
from ..inference.preprocess import to_rgb8
from ..io.labelled import object_count
from .augment import augment_pixels, bent, flip_and_turn, stained
from .losses import dense_targets
from .synthesis import Rng, Scene, empty_scene, synthesise


def image_kind(image: NDArray[np.uint8]) -> str:
    """Kind of a nuclei image by its colour and brightness, (H, W, 3) uint8."""
    spread = np.ptp(image.astype(np.int16), axis=-1).max()
    if spread >= 8:
        return "stained tissue"
    return "fluorescence" if image.mean() < 100 else "bright field"


def load_folder(folder: Path, split: str) -> list[Scene]:
    """Images of ``split`` from ``folder``: images/NAME, labels/NAME and split.csv (image, split).

    Raises:
        FileNotFoundError: naming what the folder should hold.
    """
    table = folder / "split.csv"
    if not table.is_file():
        raise FileNotFoundError(
            f"Expected {table} beside images/ and labels/, found none; give the data set's folder."
        )
    with table.open(newline="") as lines:
        names = [row["image"] for row in csv.DictReader(lines) if row["split"] == split]
    loaded = []
    for name in names:
        raw = imread(folder / "images" / name)
        image = quieted(to_rgb8(raw))
        labels = imread(folder / "labels" / name).astype(np.int32)
        loaded.append(Scene(image, labels, image_kind(image), raw))
    return loaded


@dataclass(frozen=True)
class Crop:
    """``image`` (3, S, S) float 0..255 with ``inside`` (1, S, S) 0 beyond the image's edge,
    and ``labels`` (S, S) int64."""

    image: Tensor
    inside: Tensor
    labels: Tensor


def stacked(crops: Sequence[Crop]) -> Crop:
    """Crops of one size as a batch."""
    return Crop(
        torch.stack([c.image for c in crops]),
        torch.stack([c.inside for c in crops]),
        torch.stack([c.labels for c in crops]),
    )


@dataclass(frozen=True)
class CropBatch(Crop):
    """B crops, and ``dense`` (B, 3, S / 2, S / 2), what the dense head is to say of them.

    In 16 and 32 bits on its way from the process that made it.
    """

    dense: Tensor

    def packed(self) -> CropBatch:
        """In few bits: a fraction of a grey value is lost."""
        return CropBatch(
            self.image.half(), self.inside.half(), self.labels.int(), self.dense.half()
        )

    def pin_memory(self) -> CropBatch:
        """In memory that a GPU can read; a `DataLoader` calls this in a thread of its own."""
        return CropBatch(*(part.pin_memory() for part in self._parts()))

    def unpacked(self, device: torch.device) -> CropBatch:
        """In full on ``device``."""
        image, inside, labels, dense = (p.to(device, non_blocking=True) for p in self._parts())
        return CropBatch(image.float(), inside.float(), labels.long(), dense.float())

    def _parts(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class CropSettings:
    """How crops are drawn; ``zoom_spread`` is the deviation of log2 of the zoom.

    ``synthetic_part`` of them are of drawn images, ``empty_part`` of drawn fields in which there is
    nothing; ``stained_part`` of fluorescence becomes a dyed slide; ``bent_part`` are turned,
    stretched and bent; ``changed_part`` get another microscope's light, focus and noise. The rest
    is left as taken, so that usual images are learnt best.
    """

    side_px: int = 384
    zoom_spread: float = 0.5
    synthetic_part: float = 0.2
    empty_part: float = 0.15
    stained_part: float = 0.15
    bent_part: float = 0.4
    changed_part: float = 0.5


def cut_crop(
    source: Scene, rng: Rng, settings: CropSettings, usual_zoom: float | None = None
) -> Crop:
    """A square crop that holds an object of ``source`` drawn at random, at a random zoom.

    The zoom varies around ``usual_zoom``, by default `natural_zoom`; an object always fits into
    the crop, and is never smaller than a few cells.
    """
    side = settings.side_px
    size = source.labels.shape
    ids = np.unique(source.labels)
    ids = ids[ids > 0]
    usual_zoom = usual_zoom or natural_zoom((size[0], size[1]))
    zoom = usual_zoom * 2.0 ** rng.normal(0, settings.zoom_spread)
    anchor = np.asarray(size) / 2
    if len(ids):
        ys, xs = np.nonzero(source.labels == rng.choice(ids))
        anchor = np.asarray([ys.mean(), xs.mean()])
        extent = max(np.ptp(ys), np.ptp(xs)) + 1
        zoom = float(np.clip(zoom, 7.0 / extent, 0.9 * side / extent))
    native = max(8, round(side / zoom))
    start = []
    for at, length in zip(anchor, size, strict=True):
        low = at - native * rng.uniform(0.25, 0.75)
        start.append(int(np.clip(low, 0, max(0, length - native))))
    window = (slice(start[0], start[0] + native), slice(start[1], start[1] + native))
    image = torch.from_numpy(np.ascontiguousarray(source.image[window])).permute(2, 0, 1)
    labels = torch.from_numpy(np.ascontiguousarray(source.labels[window]))
    return _resized(image, labels, side / native, side)


def _resized(image: Tensor, labels: Tensor, zoom: float, side: int) -> Crop:
    """Resize by ``zoom`` and pad at right and bottom to ``side``."""
    size = [min(side, max(1, round(n * zoom))) for n in labels.shape]
    pixels = F.interpolate(image[None].float(), size, mode="bilinear", antialias=zoom < 1)[0]
    ids = F.interpolate(labels[None, None].double(), size, mode="nearest-exact")[0, 0]
    pad = (0, side - size[1], 0, side - size[0])
    inside = F.pad(torch.ones(1, *size), pad)
    return Crop(F.pad(pixels, pad), inside, F.pad(ids, pad).to(torch.int64))


def image_shares(kinds: Sequence[str], objects: Sequence[int]) -> NDArray[np.float64]:
    """How often each image is drawn, (N,) summing to 1, from its kind and its number of objects.

    A kind is drawn as the square root of its number of images: rare kinds more often than they
    come, so that a few stained slides are not lost among hundreds of fluorescence images. Of one
    kind, images are drawn as often as they have objects, so that every object is as likely as
    another; an empty image counts as one.
    """
    shares = np.maximum(np.asarray(objects, np.float64), 1)
    for kind in set(kinds):
        alike = np.asarray([k == kind for k in kinds])
        shares[alike] *= np.sqrt(np.count_nonzero(alike)) / shares[alike].sum()
    return np.asarray(shares / max(shares.sum(), 1e-12), np.float64)


class CropBatches(Dataset[CropBatch]):
    """Batch number -> a batch of crops; the number and the seed decide it, so a run can resume."""

    def __init__(
        self,
        real: Sequence[Scene],
        settings: CropSettings,
        batch: int,
        seed: int,
        synthetic_pool: int = 600,
    ) -> None:
        self.real = list(real)
        self.settings, self.batch, self.seed = settings, batch, seed
        self._shares = image_shares(
            [image.kind for image in self.real],
            [object_count(image.labels) for image in self.real],
        )
        self.synthetic = [
            synthesise(np.random.default_rng((seed, 7, i)), _pool_size(i))
            for i in range(synthetic_pool)
        ]

    def __getitem__(self, step: int) -> CropBatch:
        """Crops of one step, stacked."""
        rng = np.random.default_rng((self.seed, 1, step))
        crops = stacked([self._one(rng) for _ in range(self.batch)])
        dense = dense_targets(crops.labels[:, ::2, ::2])
        return CropBatch(crops.image, crops.inside, crops.labels, dense).packed()

    def _one(self, rng: Rng) -> Crop:
        chance = rng.random()
        if chance < self.settings.empty_part:
            source = empty_scene(rng, _pool_size(int(rng.integers(3))))
        elif not self.real or chance < self.settings.empty_part + self.settings.synthetic_part:
            source = self.synthetic[int(rng.integers(len(self.synthetic)))]
        else:
            source = self.real[int(rng.choice(len(self.real), p=self._shares))]
        crop = cut_crop(source, rng, self.settings)
        image, inside, labels = flip_and_turn(rng, crop.image, crop.inside, crop.labels)
        if rng.random() < self.settings.bent_part:
            image, inside, labels = bent(rng, image, inside, labels)
        if source.kind == "fluorescence" and rng.random() < self.settings.stained_part:
            image = 255 * stained(rng, image / 255) * inside
        if rng.random() < self.settings.changed_part:
            image = augment_pixels(rng, image) * inside
        return Crop(image, inside, labels)


def _pool_size(index: int) -> tuple[int, int]:
    return (256, 256) if index % 3 else (400, 400)
