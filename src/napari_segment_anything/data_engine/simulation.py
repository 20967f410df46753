"""A data engine with a simulated person, on labelled images: does annotating get quicker?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..evaluation.corruptions import corrupted
from ..io.labelled import LabelledFile, LabelledImage, labelled_files
from ..modeling.sizes import build_sam
from ..zoo.checkpoint import read_checkpoint, write_checkpoint
from ..zoo.loader import located
from .project import Project


@dataclass(frozen=True)
class Setup:
    """What a simulation begins with.

    ``images`` are annotated in all, ``held_out`` only scored; drawn with ``seed``. All are worsened
    by ``corruption``, one of `evaluation.corruptions`; of images larger than ``image_px`` only the
    middle of so many pixels a side is taken, which makes a run short. ``noise`` weakens the model's
    mask decoder, see `weakened`: a model that knows the images already has nothing to learn.
    """

    model: str = "nano"
    images: int = 18
    held_out: int = 6
    seed: int = 0
    corruption: str | None = None
    image_px: int | None = None
    noise: float = 0.0


def simulated_project(folder: Path, data: Path, setup: Setup) -> Project:
    """A project out of labelled images: ``data`` as for `read_labelled`, best with split.csv.

    Images to annotate come from the split ``train``, held-out ones from ``val``; without
    ``split.csv`` both come from all. Called again with the same arguments it changes nothing.

    Raises:
        ValueError: too few images.
    """
    model = setup.model
    folder.mkdir(parents=True, exist_ok=True)
    if setup.noise > 0:
        model = str(weakened(setup.model, folder / "models" / "start.safetensors", setup))
    project = Project.create(folder, model)
    chosen, scored = _drawn_files(data, setup)
    for files, add in ((chosen, project.add_simulated), (scored, project.add_held_out)):
        for file in files:
            add(_prepared(file.read(), setup))
    return project


def _prepared(image: LabelledImage, setup: Setup) -> LabelledImage:
    if setup.image_px is not None:
        h, w = image.labels.shape
        top, left = (max(0, (n - setup.image_px) // 2) for n in (h, w))
        middle = (slice(top, top + setup.image_px), slice(left, left + setup.image_px))
        image = replace(image, pixels=image.pixels[middle], labels=image.labels[middle])
    return image if setup.corruption is None else corrupted(image, setup.corruption, setup.seed)


def weakened(model: str, path: Path, setup: Setup) -> Path:
    """Write the model with a noisy mask decoder to ``path``, unless it is there.

    Each matrix and kernel of the decoder gets normal noise of ``setup.noise`` times its own
    deviation.
    """
    if path.is_file():
        return path
    checkpoint = read_checkpoint(located(model).model)
    sam = build_sam(checkpoint.config)
    sam.load_state_dict(checkpoint.state_dict)
    generator = torch.Generator().manual_seed(setup.seed)
    with torch.no_grad():
        for weight in sam.mask_decoder.parameters():
            if weight.ndim > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(setup.noise * weight.std() * noise)
    write_checkpoint(path, sam, checkpoint.config, checkpoint.metadata)
    return path


def _drawn_files(data: Path, setup: Setup) -> tuple[Sequence[LabelledFile], Sequence[LabelledFile]]:
    """Files to annotate, and to score."""
    rng = np.random.default_rng(setup.seed)
    if (data / "split.csv").is_file():
        chosen = _sample(labelled_files(data, split="train"), setup.images, rng)
        return chosen, _sample(labelled_files(data, split="val"), setup.held_out, rng)
    both = _sample(labelled_files(data), setup.images + setup.held_out, rng)
    return both[: setup.images], both[setup.images :]


def _sample(
    files: Sequence[LabelledFile], count: int, rng: np.random.Generator
) -> Sequence[LabelledFile]:
    if len(files) < count:
        raise ValueError(f"Expected {count} labelled images or more, got {len(files)}.")
    return [files[i] for i in rng.permutation(len(files))[:count]]
