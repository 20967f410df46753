"""What a training process is to do and what it reports, as a folder that two processes share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..io.labelled import LabelledImage

NEWS = "news.jsonl"
_TABLE = "job.json"


@dataclass(frozen=True)
class Job:
    """One improvement of one model.

    ``model`` is a name or the path of a checkpoint. ``sources`` are labelled images out of layers,
    one inner sequence a pair of layers, its planes in their order; ``folders`` are read by the
    process. ``settings`` are fields of `FitSettings` by name.
    """

    model: str
    sources: tuple[tuple[LabelledImage, ...], ...] = ()
    folders: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put the job into an empty folder; arrays keep their type."""
        sources = []
        for number, images in enumerate(self.sources):
            sources.append([image.name for image in images])
            for place, image in enumerate(images):
                file = _array_file(folder, number, place)
                np.savez(file, pixels=image.pixels, labels=image.labels)
        table = {
            "model": self.model,
            "sources": sources,
            "folders": [str(path) for path in self.folders],
            "settings": dict(self.settings),
        }
        (folder / _TABLE).write_text(json.dumps(table))

    @classmethod
    def read(cls, folder: Path) -> Job:
        """The job that `write` has put there."""
        table = json.loads((folder / _TABLE).read_text())
        sources = []
        for number, names in enumerate(table["sources"]):
            images = []
            for place, name in enumerate(names):
                with np.load(_array_file(folder, number, place), allow_pickle=False) as arrays:
                    images.append(LabelledImage(name, arrays["pixels"], arrays["labels"]))
            sources.append(tuple(images))
        folders = tuple(Path(path) for path in table["folders"])
        return cls(table["model"], tuple(sources), folders, table["settings"])


def _array_file(folder: Path, source: int, place: int) -> Path:
    return folder / f"image-{source}-{place}.npz"


class Reporter:
    """Appends a process' reports to `NEWS`, a JSON object a line; each has a ``kind``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tell(self, kind: str, **facts: Any) -> None:
        """One report."""
        with (self._folder / NEWS).open("a") as stream:
            stream.write(json.dumps({"kind": kind, **facts}) + "\n")

    def draw(self, picture: NDArray[np.uint8], step: int) -> str:
        """Keep a picture, (H, W, 3), of a step; its path. Nobody reads it before it is whole."""
        path = self._folder / f"sample-{step}.png"
        Image.fromarray(picture).save(path)
        return str(path)
