"""Train a promptable model on labelled images: `fit`.

A run lives in a folder and can be stopped at any time; called again with the same data and
settings, `fit` goes on where it was, with the losses of a run that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..inference.model import Model
from ..io.labelled import LabelledImage
from .base import base_of
from .crops import scene_of
from .run import FitProgress, FitResult, Run
from .run_folder import RunFolder
from .settings import FitSettings
from .synthesis import Scene

__all__ = ["FitProgress", "FitResult", "FitSettings", "fit"]


def fit(
    model: Model | str | Path,
    train: Sequence[LabelledImage],
    val: Sequence[LabelledImage] = (),
    *,
    folder: Path | str,
    settings: FitSettings | None = None,
    progress: Callable[[FitProgress], None] | None = None,
) -> FitResult:
    """Train a copy of ``model`` on the objects of labelled images, by simulated prompting.

    The recipe is that of Segment Anything (`recipe`). The checkpoint with the best validation
    score is kept, which is the start if nothing got better.

    Args:
        model: from `load_model`, or what that takes; it is not changed.
        train: images with labels; those without objects teach nothing.
        val: images for validation; without any, the training images are validated on.
        folder: the run's own, new or of a run that goes on.
        settings: how to train; by default quick enough for a laptop.
        progress: called after each step and validation; an exception raised in it stops the run
            after its state is saved, and comes out here.

    Raises:
        ValueError: images or settings that cannot be, or another run's folder; says what to do.
        RuntimeError: TensorBoard is asked for and not installed.
    """
    settings = settings or FitSettings()
    base = base_of(model, settings.device)
    chosen = settings.settled(is_square=base.sam.is_square, on_gpu=base.device.type != "cpu")
    smooth = not base.sam.is_square
    scenes = _with_objects(train, "training", smooth)
    asked = _with_objects(val, "validation", smooth) if len(val) else scenes
    return Run(base, chosen, scenes, asked, RunFolder(Path(folder)), progress).to_the_end()


def _with_objects(images: Sequence[LabelledImage], what: str, smooth: bool) -> list[Scene]:
    scenes = [s for s in (scene_of(image, smooth) for image in images) if s.labels.any()]
    if not scenes:
        raise ValueError(
            f"Expected {what} images with labelled objects, got {len(images)} without any; label "
            "some first."
        )
    return scenes
