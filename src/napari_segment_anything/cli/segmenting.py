"""Files of images into files of labels, one after the other; a bad one does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ..config import ModelChoice
from ..core.embedding_cache import EmbeddingCache
from ..core.engine import AutoMaskRequest, Engine, View
from ..geometry.planes import PlaneRef
from ..io.images import read_image
from ..io.writing import write_tiff
from .progress import Line

PROBLEMS = (ValueError, RuntimeError, OSError, MemoryError)


def target_of(image: Path, folder: Path) -> Path:
    """Where the labels of an image go."""
    return folder / f"{image.stem}_labels.tif"


def checked_targets(images: Sequence[Path], folder: Path) -> list[Path]:
    """Where the labels of all images go.

    Raises:
        ValueError: two images would share a file.
    """
    targets = [target_of(image, folder) for image in images]
    for image, target in zip(images, targets, strict=True):
        if targets.count(target) > 1:
            raise ValueError(
                f"Expected images of different names, the labels of several would be {target}; "
                f"segment {image} into another folder."
            )
    return targets


class FileSegmenter:
    """Segments files with one model, and says on the terminal what it does."""

    def __init__(self, choice: ModelChoice, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.choice = choice
        self.settings = dict(settings)
        self.overwrite = overwrite
        self.engine = Engine(cache=EmbeddingCache(budget_bytes=0))  # no image comes again
        self._count = 0

    def load(self) -> None:
        """Load the model and say how it runs.

        Raises:
            ValueError: no such model, device or precision, or settings that it cannot follow.
            RuntimeError: it cannot be downloaded, or does not fit into memory.
        """
        model = self.engine.at_hand.get(self.choice, Line("Downloading").show)
        Line.clear()
        from ..automask.api import resolved_settings  # torch is there with the model

        resolved_settings(model, self.settings)
        typer.echo(f"{self.choice.name} on {self.engine.running}", err=True)

    def segment(self, image: Path, target: Path) -> bool:
        """One file into another, with a line about it; False if it could not be."""
        start = time.monotonic()
        try:
            if target.exists() and not self.overwrite:
                raise ValueError(f"Expected no {target} yet; allow --overwrite.")
            labels = self._labels(image)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_tiff(target, labels)
        except PROBLEMS as error:
            Line.clear()
            typer.echo(f"{image}: {' '.join(str(error).split())}", err=True)
            return False
        seconds = time.monotonic() - start
        typer.echo(f"{image}: {labels.max()} objects in {seconds:.1f} s -> {target}")
        return True

    def _labels(self, path: Path) -> Any:
        pixels = read_image(path)
        self._count += 1
        size_hw = (pixels.shape[0], pixels.shape[1]) if pixels.ndim > 1 else (1, pixels.size)
        plane = PlaneRef(0, 1, (0, 0))
        view = View(self.choice, plane, size_hw, self._count, None, lambda: pixels)
        request = AutoMaskRequest(view, self.settings, overwrite=False)
        answer = self.engine.run(request, Line(path.name).show)
        Line.clear()
        for notice in self.engine.take_notices():
            typer.echo(notice, err=True)
        return answer[0]  # type: ignore[index]
