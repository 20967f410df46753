"""Folders of images with labels: pairs of files, or images with a COCO annotation file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coco import CocoImage, read_coco
from .images import IMAGE_SUFFIXES, read_image, read_labels

LABELS_ENDING = "_labels"
"""What ``segment`` appends to an image's name; such a file is found as the image's labels, too."""


@dataclass(frozen=True)
class LabelledImage:
    """One image and its objects.

    ``pixels`` (H, W) or (H, W, C) as read; ``labels`` (H, W) int32, 0 background, any ids;
    ``name`` is the file's, without its ending.
    """

    name: str
    pixels: NDArray[Any]
    labels: NDArray[np.int32]


def object_count(labels: NDArray[np.int32]) -> int:
    """Number of ids above 0."""
    return int((np.unique(labels) > 0).sum())


@dataclass(frozen=True)
class LabelledFile:
    """An image file and where its labels are: another file, or outlines out of one."""

    name: str
    image: Path
    labels: Path | CocoImage

    def read(self) -> LabelledImage:
        """Both, read and checked.

        Raises:
            ValueError: a file that cannot be read, or labels of another size than the image.
        """
        pixels = read_image(self.image)
        if pixels.ndim not in (2, 3):
            raise ValueError(
                f"Expected one plane, (H, W) or (H, W, C), in {self.image}, got {pixels.shape}."
            )
        if isinstance(self.labels, CocoImage):
            labels = self.labels.labels((pixels.shape[0], pixels.shape[1]))
        else:
            labels = read_labels(self.labels)
        if labels.shape != pixels.shape[:2]:
            raise ValueError(
                f"Expected labels of the size of {self.image}, {pixels.shape[:2]}, "
                f"got {labels.shape} in {self.labels}."
            )
        return LabelledImage(self.name, pixels, labels)


def read_labelled(
    source: Path | str, *, labels: Path | str | None = None, split: str | None = None
) -> list[LabelledImage]:
    """All labelled images of a folder, read.

    Args:
        source: a folder with ``images/`` and ``labels/``, or, with ``labels``, one of images.
        labels: a folder of label files named as the images (``a.png`` and ``a.tif``, or
            ``a_labels.tif``), or a COCO annotation file (``.json``).
        split: only the images that ``source/split.csv`` (columns image, split) puts there.

    Raises:
        ValueError: a file without its partner, of another size or unreadable, an unknown split.
        FileNotFoundError: a folder or ``split.csv`` that is not there.
    """
    return [file.read() for file in labelled_files(source, labels=labels, split=split)]


def labelled_files(
    source: Path | str, *, labels: Path | str | None = None, split: str | None = None
) -> list[LabelledFile]:
    """As `read_labelled`, each image read only when it is asked for.

    In order of their names; a split or an annotation file has its own order.
    """
    source = Path(source)
    where = source / "labels" if labels is None else Path(labels)
    folder = _existing(source / "images" if labels is None else source)
    partners: Mapping[str, Path | CocoImage]
    if where.suffix.lower() == ".json":
        images, partners = _annotated(folder, where)
    else:
        images = _by_stem(folder)
        partners = _label_files(_existing(where), images)
    if not images:
        raise ValueError(f"Expected PNG, TIFF or JPEG images in {folder}, found none.")
    table = source / "split.csv"
    chosen = list(images) if split is None else _names_of_split(images, table, split)
    for name in chosen:
        if name not in partners:
            raise ValueError(
                f"Expected labels for every image, found none for {images[name]} in {where}; "
                "label it, or take it out."
            )
    for name in partners if split is None else ():
        if name not in images:
            raise ValueError(
                f"Expected an image for all labels, found none for {partners[name]} in {folder}."
            )
    return [LabelledFile(name, images[name], partners[name]) for name in chosen]


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected a folder {folder}, found none; give a folder with images/ and labels/, "
            "or one of images and one of labels."
        )
    return folder


def _by_stem(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their names without ending, sorted."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise ValueError(f"Expected one file named {path.stem} in {folder}, found two.")
        found[path.stem] = path
    return found


def _label_files(folder: Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """Label files by the names of their images."""
    files = _by_stem(folder)
    partners = {}
    for stem, path in files.items():
        name = stem.removesuffix(LABELS_ENDING)
        is_own = stem in images or name not in images or name in files
        partners[stem if is_own else name] = path
    return partners


def _annotated(
    folder: Path, annotations: Path
) -> tuple[dict[str, Path], dict[str, Path | CocoImage]]:
    """Image files that an annotation file names, and what it says of them, both by name."""
    if not annotations.is_file():
        raise FileNotFoundError(f"Expected a COCO annotation file at {annotations}, found none.")
    entries = {Path(e.name).with_suffix("").as_posix(): e for e in read_coco(annotations)}
    images = {name: folder / entry.name for name, entry in entries.items()}
    for path in images.values():
        if not path.is_file():
            raise ValueError(f"Expected {path}, an image of {annotations}, found no such file.")
    return images, dict(entries)


def _names_of_split(images: Mapping[str, Path], table: Path, split: str) -> list[str]:
    """Names of the images that ``table`` puts into ``split``, in the table's order."""
    if not table.is_file():
        raise FileNotFoundError(f"Expected {table} (columns image, split), found none.")
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"image", "split"} <= rows[0].keys():
        raise ValueError(f"Expected columns image and split in {table}, found others.")
    wanted = [row["image"] for row in rows if row["split"] == split]
    if not wanted:
        known = ", ".join(sorted({row["split"] for row in rows}))
        raise ValueError(f"Expected a split out of {known} ({table}), got {split!r}.")
    names = {name: name for name in images} | {path.name: name for name, path in images.items()}
    for name in wanted:
        if name not in names:
            raise ValueError(f"Expected every image of {table}, found none for {name}.")
    return [names[name] for name in wanted]
