"""One run of `fit`: the learner's steps, and what is measured and kept after them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ..inference.model import Model
from ..modeling.lora import without_lora
from ..modeling.sam import Sam
from ..zoo.checkpoint import write_checkpoint
from ..zoo.export import export_for_micro_sam, export_weights, is_exportable
from .base import Base
from .crops import CropSource
from .curves import Events, check_events, write_curves
from .dense import chosen_decoder, dense_heads
from .learner import Learner
from .precision import pick_training_precision
from .run_folder import RunFolder
from .settings import FitSettings
from .synthesis import Scene
from .validation import Score, Validator

FORMAT = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitProgress:
    """Where a run stands after ``step`` of ``steps``.

    ``losses`` are the step's numbers by name. After a validation ``score`` is the mean IoU of a
    click and a box (both among ``losses``), and ``sample`` (H, W, 3) uint8 a picture of what was
    found: true outlines in yellow, those of the answers in blue.
    """

    step: int
    steps: int
    losses: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    sample: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class FitResult:
    """What a run left: its ``best`` and ``last`` checkpoints, and ``history``, a line a step.

    ``exported`` is the best one as other tools read it, None for `nano`'s kind; ``for_micro_sam``
    has the automatic decoder, too, None if there is none.
    """

    best: Path
    last: Path
    history: list[dict[str, float]]
    exported: Path | None = None
    for_micro_sam: Path | None = None


class Run:
    """One run: the learner's steps, and what is measured and kept after them."""

    def __init__(
        self,
        base: Base,
        settings: FitSettings,
        scenes: Sequence[Scene],
        asked: Sequence[Scene],
        place: RunFolder,
        progress: Callable[[FitProgress], None] | None,
    ) -> None:
        precision = pick_training_precision(settings.precision, base.device)
        square_px = int(base.sam.image_encoder.img_size) if base.sam.is_square else 0  # type: ignore[arg-type]
        self.base, self.settings, self.place = base, settings, place
        self.data = {
            "train images": len(scenes),
            "train data": _digest(scenes),
            "validation images": 0 if asked is scenes else len(asked),
            "validation data": _digest(asked),
        }
        source = CropSource(scenes, settings, square_px)
        self.decoder = chosen_decoder(base.decoder, base.sam, settings)
        if self.decoder is not None:
            self.decoder.to(base.device)
        learns = self.decoder if settings.automatic_decoder != "keep" else None
        heads = dense_heads(base.sam, learns) if settings.dense_weight else []
        self.learner = Learner(base.sam, heads, settings, source, precision)
        keeps = not self.learner.trains_encoder
        self.validator = Validator(asked, settings, keeps, precision.autocast)
        self.history: list[dict[str, float]] = []
        self.best_score, self.stale = -1.0, 0
        self.saved_at = -1
        self._progress = progress
        self._events: Events | None = None

    def to_the_end(self) -> FitResult:
        """All steps that are left.

        Raises:
            ValueError: the folder is another run's.
        """
        if self.settings.tensorboard:
            check_events()
        self.place.claim(self._identity())
        if self.settings.tensorboard:
            self._events = Events(self.place.path / "tensorboard")
        try:
            self._begin()
            if not self._is_over:
                for losses in self.learner.run():
                    self._after_step({"step": self.learner.step, **losses})
                    if self._is_over:
                        break
        finally:
            if self._events is not None:
                self._events.close()
        exported = self.place.exported if is_exportable(self.base.sam) else None
        with_decoder = None if self.decoder is None else self.place.for_micro_sam
        return FitResult(self.place.best, self.place.last, self.history, exported, with_decoder)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        settings = asdict(self.settings)
        for changes_nothing in ("device", "tensorboard"):
            del settings[changes_nothing]
        return {
            "format": FORMAT,
            "base model": self.base.name,
            "base digest": self.base.digest,
            "base decoder": self.base.decoder_digest,
            **self.data,
            "settings": settings,
        }

    @property
    def _is_over(self) -> bool:
        patience = self.settings.patience
        is_stuck = patience > 0 and self.stale >= patience
        return self.learner.step >= self.settings.steps or is_stuck

    def _begin(self) -> None:
        """Take up the state that was kept, or score the model as it is before the first step."""
        state = self.place.read_state()
        if state is None:
            self.place.numbers_to(-1)
            self._after_step({"step": 0})
            return
        self.learner.resume(state["learner"])
        self.best_score, self.stale = float(state["best score"]), int(state["stale"])
        self.history = self.place.numbers_to(self.learner.step)
        self.saved_at = self.learner.step
        log.info("going on at step %d of %d", self.learner.step, self.settings.steps)

    def _after_step(self, numbers: dict[str, float]) -> None:
        step, every = self.learner.step, self.settings.validate_every or 1
        is_due = step % every == 0 or step == self.settings.steps
        score, picture = self._validated() if is_due else (None, None)
        if score is not None:
            numbers |= {"click": score.click, "box": score.box, "score": score.mean}
        self.history.append(numbers)
        self.place.add_numbers(numbers)
        if self._events is not None:
            self._events.add(numbers, picture)
        if score is not None and picture is not None:
            self.place.write_sample(step, picture)
            self._keep_if_best(score)
            self._save()
            write_curves(self.place.curves, self.history, f"{self.base.name}, {step} steps")
        self._tell(numbers, score, picture)

    @contextmanager
    def _shown(self) -> Iterator[Sam]:
        """The model as it is scored and saved: averaged, and without adapters."""
        with self.learner.averaged() as sam:
            yield without_lora(sam)

    def _validated(self) -> tuple[Score, NDArray[np.uint8]]:
        with self._shown() as sam:
            model = Model(sam, self.base.name, self.base.device, "fp32", "in training")
            return self.validator.score(model)

    def _keep_if_best(self, score: Score) -> None:
        if score.mean <= self.best_score:
            self.stale += 1
            return
        self.best_score, self.stale = score.mean, 0
        self._write_weights(self.place.best)
        if is_exportable(self.base.sam):
            with self._shown() as sam:
                export_weights(self.place.exported, sam)
                if self.decoder is not None:
                    export_for_micro_sam(self.place.for_micro_sam, sam, self.decoder)

    def _save(self) -> None:
        """Keep weights and state as they are after this step."""
        self._write_weights(self.place.last)
        self.place.write_state(
            {
                "learner": self.learner.state(),
                "best score": self.best_score,
                "stale": self.stale,
            }
        )
        self.saved_at = self.learner.step

    def _write_weights(self, path: Path) -> None:
        metadata = {"name": self.place.path.name, "card": json.dumps(self._card())}
        with self._shown() as sam:
            write_checkpoint(path, sam, self.base.config, metadata, automatic_decoder=self.decoder)

    def _card(self) -> dict[str, Any]:
        """What a checkpoint says of itself; thresholds for whole images are the base model's."""
        count, step = self.data["train images"], self.learner.step
        scored = [line for line in self.history if "score" in line]
        return {
            **self.base.card,
            "name": self.place.path.name,
            "description": f"{self.base.name}, trained on {count} images for {step} steps",
            "base_model": {"name": self.base.name, "digest": self.base.digest},
            "data": self.data,
            "settings": asdict(self.settings),
            "step": step,
            "scores": {"start": scored[0], "now": scored[-1]} if scored else {},
        }

    def _tell(
        self,
        numbers: Mapping[str, float],
        score: Score | None,
        picture: NDArray[np.uint8] | None,
    ) -> None:
        """Call the caller's function; what it raises stops the run, saved as it stands."""
        if self._progress is None:
            return
        measured = {name: value for name, value in numbers.items() if name != "step"}
        mean = None if score is None else score.mean
        step = self.learner.step
        try:
            self._progress(FitProgress(step, self.settings.steps, measured, mean, picture))
        except BaseException:
            if self.saved_at != step:
                self._save()
            raise


def _digest(scenes: Sequence[Scene]) -> str:
    """Of all pixels and labels."""
    digest = xxhash.xxh128()
    for scene in scenes:
        for array in (scene.image, scene.labels):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
