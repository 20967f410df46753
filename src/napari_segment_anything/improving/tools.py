"""What a training process works with: the contract, and this package's own functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..io.labelled import LabelledImage
from ..structures import Progress

CLICKS = 2


class Stopped(Exception):
    """Raised by a progress callback: the training is no longer wanted."""


@dataclass(frozen=True)
class Step:
    """Where a training is; ``score`` is the validation's, where there was one at this step.

    There is no ``loss`` before the first step. ``sample`` (H, W, 3) uint8 is a picture of what is
    found in the first held-out image.
    """

    step: int
    steps: int
    loss: float | None
    score: float | None = None
    sample: NDArray[np.uint8] | None = None


class Tools(Protocol):
    """The functions that do the work; tests bring their own."""

    def scores(
        self, model: str, device: str, images: Sequence[LabelledImage], progress: Progress
    ) -> list[float]:
        """One IoU an object of ``images``, in their order: 1 is perfect."""

    def fit(
        self,
        model: str,
        train: Sequence[LabelledImage],
        held_out: Sequence[LabelledImage],
        folder: Path,
        settings: Mapping[str, Any],
        progress: Callable[[Step], None],
    ) -> Path | None:
        """Train, and return the best checkpoint in ``folder``.

        Where ``progress`` raises `Stopped` it is the best so far, None if there is none.
        """


class PublicTools:
    """`Tools` of this package, imported at first use: by then the data has been looked at."""

    def scores(
        self, model: str, device: str, images: Sequence[LabelledImage], progress: Progress
    ) -> list[float]:
        """Mean IoU of each object's masks after a click, a correction, and a box."""
        from ..evaluation.evaluate import Plan, evaluate_image
        from ..zoo.loader import load_model

        loaded = load_model(model, device)
        plan = Plan(clicks=CLICKS, box_rounds=1, auto=False)
        scores: list[float] = []
        for done, image in enumerate(images):

            def tell(percent: int, whole: int, done: int = done) -> None:
                progress(done * whole + percent, len(images) * whole)

            found = evaluate_image(loaded, image, plan, tell)
            scores += [float(np.mean([*one.clicks, *one.box])) for one in found.objects]
        return scores

    def fit(
        self,
        model: str,
        train: Sequence[LabelledImage],
        held_out: Sequence[LabelledImage],
        folder: Path,
        settings: Mapping[str, Any],
        progress: Callable[[Step], None],
    ) -> Path | None:
        """See `training.fit.fit`."""
        from ..training.fit import FitProgress, fit
        from ..training.settings import FitSettings

        def watch(state: FitProgress) -> None:
            loss = state.losses.get("loss")  # there is none before the first step
            progress(Step(state.step, state.steps, loss, state.score, state.sample))

        try:
            result = fit(
                model,
                train,
                held_out,
                folder=folder,
                settings=FitSettings(**settings),
                progress=watch,
            )
        except Stopped:
            best = folder / "best.safetensors"
            return best if best.is_file() else None
        return result.best
