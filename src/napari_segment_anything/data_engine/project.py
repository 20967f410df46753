"""A data engine's folder: images, annotations with their provenance, models, rounds.

::

    project.json                       the model it began with
    images/NAME.png                    what is to be annotated
    annotations/NAME.tif, NAME.json    labels, and how they were made
    prefilled/NAME.tif, NAME.json      confident masks that wait for a person
    models/round-N-DATA/               what training left
    rounds/round-N.json                the model after N trainings, and its held-out scores
    held_out/images/, labels/          labelled images that only scores read (optional)
    truth/NAME.tif                     true labels, where a person is simulated

All state is read from here: a run that was killed goes on with what is whole. A file appears whole
or not at all; of a pair the JSON comes last, and an image without it counts as not annotated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ..geometry.rle import mask_to_rle, rle_to_coco
from ..io.coco import segmentation_mask
from ..io.images import IMAGE_SUFFIXES, read_image, read_labels
from ..io.labelled import LabelledImage, read_labelled
from ..io.writing import whole_file, write_tiff
from .canvas import Proposals
from .records import Labels, ObjectRecord, Provenance, Stage, Weights, labels_digest
from .stages import Picture

VERSION = 1


class ProjectError(ValueError):
    """A folder that is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Round:
    """A model of the engine: the one it began with (``number`` 0) or that of a training.

    ``model`` is a name or path for `load_model`; ``images`` trained it, ``scores`` are its
    held-out ones by name, ``seconds`` what training took.
    """

    number: int
    model: str
    model_digest: str
    images: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Project:
    """One folder, read anew at every call; `create` makes one, the constructor opens one."""

    def __init__(self, folder: Path | str) -> None:
        """Open a project.

        Raises:
            ProjectError: no project, or one of another version.
        """
        self.folder = Path(folder)
        about = self.folder / "project.json"
        if not about.is_file():
            raise ProjectError(
                f"Expected a project in {self.folder}, found no project.json; begin one with "
                "`engine init`."
            )
        values = _read_json(about)
        if values.get("version") != VERSION or not isinstance(values.get("model"), str):
            raise ProjectError(
                f"Expected a project of version {VERSION} with a model in {about}, got {values}."
            )
        self._model: str = values["model"]

    @classmethod
    def create(cls, folder: Path | str, model: str = "nano") -> Project:
        """Make a project that begins with ``model``, a name or path; or open it, if it is there.

        Raises:
            ProjectError: it is there with another model.
        """
        folder = Path(folder)
        for part in ("images", "annotations", "prefilled", "models", "rounds"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        about = folder / "project.json"
        if not about.exists():
            _write_json(about, {"version": VERSION, "model": _stored(folder, model)})
        project = cls(folder)
        if project._model != _stored(folder, model):
            raise ProjectError(
                f"Expected the model {project._model!r} with which {folder} began, got "
                f"{model!r}; begin another folder."
            )
        return project

    @property
    def start_model(self) -> str:
        """Name or path of the model that it began with."""
        return _opened(self.folder, self._model)

    def add_files(self, paths: Sequence[Path]) -> None:
        """Copy image files into the project; those there already stay.

        Raises:
            ValueError: two images of one name, or a file that is no image.
        """
        _check_names(paths)
        known = self.images()
        for path in paths:
            there = known.get(path.stem)
            if there is not None and there.name != path.name:
                _check_names([there, path])
            if there is None:
                read_image(path)
                with whole_file(self.folder / "images" / path.name) as partial:
                    shutil.copyfile(path, partial)

    def add_simulated(self, image: LabelledImage) -> None:
        """Write an image, and its true labels, which only a simulated person and reports see."""
        _write_once(self.folder / "truth" / f"{image.name}.tif", image.labels)
        _write_once(self.folder / "images" / f"{image.name}.tif", image.pixels)

    def add_held_out(self, image: LabelledImage) -> None:
        """Write a labelled image that only scores see."""
        _write_once(self.folder / "held_out" / "labels" / f"{image.name}.tif", image.labels)
        _write_once(self.folder / "held_out" / "images" / f"{image.name}.tif", image.pixels)

    def images(self) -> dict[str, Path]:
        """Image files by name, in order.

        Raises:
            ProjectError: two of one name.
        """
        every = sorted((self.folder / "images").iterdir())
        paths = [
            p for p in every if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
        ]
        _check_names(paths)
        return {p.stem: p for p in paths}

    def picture(self, name: str) -> Picture:
        """One image.

        Raises:
            ValueError: none of that name, or none that can be read.
        """
        paths = self.images()
        if name not in paths:
            raise ProjectError(f"Expected an image of {self.folder}, got {name!r}.")
        return Picture(name, read_image(paths[name]))

    def waiting(self) -> list[str]:
        """Names of the images without labels, in order."""
        done = self.provenances()
        return [name for name in self.images() if name not in done]

    def held_out(self) -> list[LabelledImage]:
        """Labelled images that no training sees."""
        folder = self.folder / "held_out"
        return read_labelled(folder) if folder.is_dir() else []

    def truth(self) -> dict[str, Labels]:
        """True labels by image name; of simulations only."""
        paths = sorted((self.folder / "truth").glob("*.tif"))
        return {p.stem: read_labels(p) for p in paths}

    def provenances(self) -> dict[str, Provenance]:
        """How each annotated image's labels were made, by name, in order."""
        paths = (self.folder / "annotations" / f"{name}.json" for name in self.images())
        found = (_provenance(path) for path in paths if path.is_file())
        return {p.image: p for p in found}

    def labels(self, name: str) -> Labels:
        """The labels of an annotated image.

        Raises:
            ProjectError: they are not those that their provenance describes.
        """
        path = self.folder / "annotations" / f"{name}.tif"
        provenance = _provenance(path.with_suffix(".json"))
        labels = read_labels(path)
        if labels_digest(labels) != provenance.labels_digest:
            raise ProjectError(
                f"Expected {path} as it was written, found it changed; take the changed labels in "
                "with `engine take --overwrite`."
            )
        return labels

    def write_annotation(self, labels: Labels, provenance: Provenance) -> None:
        """Keep an image's labels, and how they were made; those that were there are replaced."""
        path = self.folder / "annotations" / f"{provenance.image}.tif"
        write_tiff(path, labels)
        _write_json(path.with_suffix(".json"), asdict(provenance))
        for suffix in (".json", ".tif"):
            (self.folder / "prefilled" / f"{provenance.image}{suffix}").unlink(missing_ok=True)

    def labelled(self, stages: Iterable[Stage]) -> list[LabelledImage]:
        """Annotated images of the given stages with their labels, in order of their rounds."""
        wanted = set(stages)
        found = sorted(
            (p for p in self.provenances().values() if p.stage in wanted), key=lambda p: p.round
        )
        return [
            LabelledImage(p.image, self.picture(p.image).pixels, self.labels(p.image))
            for p in found
        ]

    def write_prefilled(self, name: str, proposals: Proposals, weights: Weights) -> Path:
        """Write confident masks as labels to be corrected, and what they were beside them."""
        path = self.folder / "prefilled" / f"{name}.tif"
        runs = [
            rle_to_coco(mask_to_rle(proposals.labels == record.label))
            for record in proposals.objects
        ]
        write_tiff(path, proposals.labels)
        objects = [asdict(record) for record in proposals.objects]
        about = {"weights": asdict(weights), "objects": objects, "masks": runs}
        _write_json(path.with_suffix(".json"), about)
        return path

    def prefilled(self, name: str) -> tuple[Proposals, Weights] | None:
        """What was pre-filled in an image, as the model made it, and which model it was.

        The label file beside it may have been corrected since.
        """
        path = self.folder / "prefilled" / f"{name}.json"
        if not path.is_file():
            return None
        values = _read_json(path)
        h, w = self.picture(name).pixels.shape[:2]
        labels = np.zeros((h, w), np.int32)
        try:
            objects = tuple(ObjectRecord.from_json(o) for o in values["objects"])
            for record, runs in zip(objects, values["masks"], strict=True):
                labels[segmentation_mask(runs, (h, w))] = record.label
            weights = Weights(**values["weights"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProjectError(
                f"Expected pre-filled masks in {path}, got something else ({error}); pre-fill anew."
            ) from error
        return Proposals(labels, objects), weights

    def rounds(self) -> list[Round]:
        """Models so far, that of number 0 first."""
        found: list[Round] = []
        while (path := self._round_file(len(found))).is_file():
            found.append(self._read_round(path))
        return found

    def write_round(self, record: Round) -> None:
        """Keep what a training made; from here on its model is the current one."""
        values = {**asdict(record), "model": _stored(self.folder, record.model)}
        _write_json(self._round_file(record.number), values)

    def training_folder(self, number: int, images: Sequence[LabelledImage]) -> Path:
        """Where a round's training on ``images`` keeps its state and its checkpoints.

        A training that was stopped goes on there; on other labels it is another training.
        """
        content = xxhash.xxh3_64()
        for image in images:
            content.update(f"{image.name} {labels_digest(image.labels)}\n".encode())
        return self.folder / "models" / f"round-{number}-{content.hexdigest()[:8]}"

    def _round_file(self, number: int) -> Path:
        return self.folder / "rounds" / f"round-{number}.json"

    def _read_round(self, path: Path) -> Round:
        values = _read_json(path)
        try:
            return Round(
                int(values["number"]),
                _opened(self.folder, str(values["model"])),
                str(values["model_digest"]),
                tuple(str(name) for name in values["images"]),
                {str(name): float(score) for name, score in values["scores"].items()},
                float(values["seconds"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProjectError(
                f"Expected a round in {path}, got something else ({error}); take the file away to "
                "train anew."
            ) from error


def _stored(folder: Path, model: str) -> str:
    """A model's name or path as it is written: relative for files of the project."""
    place = Path(model).resolve()
    inside = place.is_file() and place.is_relative_to(folder.resolve())
    return place.relative_to(folder.resolve()).as_posix() if inside else model


def _opened(folder: Path, model: str) -> str:
    """The name or path that `load_model` takes."""
    inside = folder / model
    return str(inside) if inside.is_file() else model


def _check_names(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise ProjectError(
                f"Expected images of different names, got {seen[path.stem]} and {path}; rename one."
            )
        seen[path.stem] = path


def _provenance(path: Path) -> Provenance:
    try:
        return Provenance.from_json(_read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProjectError(
            f"Expected the provenance of labels in {path}, got something else ({error}); take the "
            "labels in again."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProjectError(f"Expected JSON in {path}, got something else ({error}).") from error
    if not isinstance(values, dict):
        raise ProjectError(f"Expected named values in {path}, got {type(values).__name__}.")
    return values


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _write_once(path: Path, pixels: NDArray[Any]) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tiff(path, pixels)
