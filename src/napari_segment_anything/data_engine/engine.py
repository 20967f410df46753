"""The data engine: annotate, train, annotate faster; goes on where its folder says it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..core.functions import Functions, PublicFunctions
from ..io.labelled import LabelledImage
from .annotator import Annotator, SimulatedAnnotator
from .held_out import held_out_scores
from .project import Project, ProjectError, Round
from .records import Annotation, Labels, Maker, Provenance, Stage, Weights
from .settings import EngineSettings
from .stages import Tools, annotate, confident_masks
from .taking import taken

if TYPE_CHECKING:
    from ..inference.model import Model

BY_PEOPLE = (Stage.ASSISTED, Stage.SEMI_AUTOMATIC)
"""Only what a person has seen trains the next model."""


@dataclass(frozen=True)
class EngineProgress:
    """Where an engine is: ``done`` of ``total`` images or steps; ``what`` is one of annotating,
    pre-filling, training and scoring; ``round`` counts from 1."""

    what: str
    round: int
    done: int
    total: int
    detail: str = ""


Watch = Callable[[EngineProgress], None]
"""Called often; an exception from it cancels. What is whole by then stays in the folder."""


class Trained(Protocol):
    """What training returns; `training.fit.FitResult` is one."""

    @property
    def best(self) -> Path:
        """The checkpoint to go on with."""


class Train(Protocol):
    """Training: `training.fit.fit` with its settings bound."""

    def __call__(
        self,
        model: str | Path,
        train: Sequence[LabelledImage],
        val: Sequence[LabelledImage] = (),
        *,
        folder: Path,
        progress: Callable[[Any], None] | None = None,
    ) -> Trained:
        """Train ``model`` on ``train``, choose by ``val``, keep everything in ``folder``.

        Called again with a folder that it was stopped in, it goes on there.
        """


class DataEngine:
    """Annotates the images of a project and trains on them, round by round (paper, section 4).

    A round is ``images_per_round`` annotated images and a training on all images that people have
    annotated in this project so far, as the paper retrains with newly annotated data only. The
    first ``assisted_rounds`` are assisted manual, the others semi-automatic; then the automatic
    stage annotates what is left. Held-out images are scored after each training, and used for
    nothing else.
    """

    def __init__(
        self,
        project: Project,
        annotator: Annotator | None = None,
        settings: EngineSettings | None = None,
        *,
        train: Train | None = None,
        load: Callable[[str], Model] | None = None,
        functions: Functions | None = None,
        progress: Watch | None = None,
    ) -> None:
        """An engine on a project.

        ``annotator`` does the person's work in `annotate` and `run`. ``train`` is `training.fit`'s
        ``fit`` by default, ``load`` is `load_model`; ``functions`` run the model.
        """
        self.project = project
        self.annotator = annotator
        self.settings = settings or EngineSettings()
        self._train = train or _fit
        self._load = load or _load_model
        self._functions = functions or PublicFunctions()
        self._watch = progress or _watch_nothing
        self._at_hand: tuple[str, Tools] | None = None

    @property
    def round(self) -> int:
        """The number of the round that is under way; the first is 1."""
        return max(1, len(self.project.rounds()))

    def stage_of(self, number: int) -> Stage:
        """The stage of a round."""
        first = number <= self.settings.assisted_rounds
        return Stage.ASSISTED if first else Stage.SEMI_AUTOMATIC

    def run(self, rounds: int, automatic: int = 0) -> None:
        """Rounds up to number ``rounds``, then ``automatic`` images automatically.

        What the folder has already is not done again: a run that was stopped goes on.

        Raises:
            ProjectError: no image is left for a round.
        """
        self.begin()
        while self.round <= rounds:
            self.annotate_round()
            self.train()
        done = [p for p in self.project.provenances().values() if p.stage is Stage.AUTOMATIC]
        self.annotate(Stage.AUTOMATIC, self.project.waiting()[: max(0, automatic - len(done))])

    def begin(self) -> None:
        """Score the model that the project begins with, once."""
        if not self.project.rounds():
            name = self.project.start_model
            tools = self._loaded(name)
            scores = self._scores(tools, 1)
            self.project.write_round(Round(0, name, tools.model.digest, scores=scores))

    def annotate_round(self) -> None:
        """Annotate until the round under way has its images, or none is left.

        Raises:
            ProjectError: there are none for this round.
        """
        done = self._annotated_by_people(self.round)
        missing = max(0, self.settings.images_per_round - len(done))
        names = self.project.waiting()[:missing]
        if not names and not done:
            raise ProjectError(
                f"Expected images without labels for round {self.round}, found none in "
                f"{self.project.folder / 'images'}; add some."
            )
        self.annotate(self.stage_of(self.round), names)

    def annotate(self, stage: Stage, names: Sequence[str]) -> None:
        """Annotate images of the project in one stage; each is kept as soon as it is whole.

        Raises:
            ValueError: an unknown image, or no annotator for a stage that needs one.
        """
        person = None if stage is Stage.AUTOMATIC else self.annotator
        for done, name in enumerate(names):
            tick = partial(self._tell, "annotating", self.round, done, len(names), name)
            tick()
            tools, picture = self._newest(), self.project.picture(name)
            started = time.perf_counter()
            annotation = annotate(stage, tools, picture, person, tick)
            maker = Maker(
                person.name if person else "nobody",
                person is not None and person.is_simulated,
                _weights(tools.model),
                time.perf_counter() - started,
            )
            self._keep(name, stage, annotation, maker)

    def prefill(self, names: Sequence[str]) -> list[Path]:
        """Write confident masks of images as label files for a person to correct.

        Files that wait already are written anew, what a person has changed in them is lost.
        """
        paths = []
        for done, name in enumerate(names):
            tick = partial(self._tell, "pre-filling", self.round, done, len(names), name)
            tick()
            tools = self._newest()
            embedding = tools.encode(self.project.picture(name), tick)
            proposals = confident_masks(tools, embedding, tick)
            paths.append(self.project.write_prefilled(name, proposals, _weights(tools.model)))
        return paths

    def take(
        self, name: str, labels: Labels, seconds: float | None = None, overwrite: bool = False
    ) -> Annotation:
        """Take in labels (H, W) that a person made or corrected; see `taken`.

        The stage is semi-automatic if the image was pre-filled, else assisted manual.

        Raises:
            ValueError: an unknown image, labels of another size, or labels there already.
        """
        size_hw = self.project.picture(name).pixels.shape[:2]
        if labels.shape != size_hw:
            raise ValueError(f"Expected labels {size_hw} for {name}, got {labels.shape}.")
        if name in self.project.provenances() and not overwrite:
            raise ProjectError(f"Expected no labels of {name} yet; allow --overwrite.")
        proposals, weights = self.project.prefilled(name) or (None, None)
        annotation = taken(labels, proposals, seconds)
        stage = Stage.ASSISTED if proposals is None else Stage.SEMI_AUTOMATIC
        if weights is None:
            weights = _weights(self._newest().model)
        self._keep(name, stage, annotation, Maker("person", False, weights))
        return annotation

    def train(self) -> Round:
        """Train on everything that people have annotated, score, and close the round under way.

        Raises:
            ProjectError: nothing has been annotated since the last training.
        """
        number = self.round
        if not self._annotated_by_people(number):
            raise ProjectError(
                f"Expected images annotated in round {number} to train on, found none; annotate "
                "some first."
            )
        self.begin()
        training, choosing = self._training_images()
        newest = self.project.rounds()[-1].model
        folder = self.project.training_folder(number, [*training, *choosing])
        started = time.perf_counter()
        result = self._train(
            newest, training, choosing, folder=folder, progress=partial(self._on_training, number)
        )
        seconds = time.perf_counter() - started
        tools = self._loaded(str(result.best))
        record = Round(
            number,
            str(result.best),
            tools.model.digest,
            tuple(image.name for image in training),
            self._scores(tools, number),
            seconds,
        )
        self.project.write_round(record)
        return record

    def _training_images(self) -> tuple[list[LabelledImage], list[LabelledImage]]:
        """What people annotated: images to train on, and those that choose the checkpoint."""
        images = self.project.labelled(BY_PEOPLE)
        every = self.settings.validation_every
        kept = [image for i, image in enumerate(images, start=1) if i % every]
        return kept, images[every - 1 :: every]

    def _annotated_by_people(self, number: int) -> list[Provenance]:
        every = self.project.provenances().values()
        return [p for p in every if p.round == number and p.stage in BY_PEOPLE]

    def _newest(self) -> Tools:
        rounds = self.project.rounds()
        return self._loaded(rounds[-1].model if rounds else self.project.start_model)

    def _loaded(self, name: str) -> Tools:
        if self._at_hand is None or self._at_hand[0] != name:
            self._at_hand = None  # the old model goes before the new one comes
            self._at_hand = name, Tools(self._load(name), self.settings, self._functions)
        return self._at_hand[1]

    def _scores(self, tools: Tools, number: int) -> dict[str, float]:
        images = self.project.held_out()
        person = self.annotator
        if not isinstance(person, SimulatedAnnotator):
            person = SimulatedAnnotator({})
        tell = partial(self._tell, "scoring", number)
        return held_out_scores(tools, images, person, lambda done: tell(done, len(images)))

    def _keep(self, name: str, stage: Stage, annotation: Annotation, maker: Maker) -> None:
        provenance = Provenance.of(name, stage, self.round, annotation, maker)
        self.project.write_annotation(annotation.labels, provenance)

    def _on_training(self, number: int, state: Any) -> None:
        """Told by `training.fit`; an exception stops it once its state is saved."""
        self._tell("training", number, state.step, state.steps)

    def _tell(self, what: str, number: int, done: int, total: int, detail: str = "") -> None:
        self._watch(EngineProgress(what, number, done, total, detail))


def _weights(model: Model) -> Weights:
    return Weights(model.name, model.digest)


def _watch_nothing(_progress: EngineProgress) -> None:
    pass


def _load_model(name: str) -> Model:
    from ..zoo.loader import load_model

    return load_model(name)


def _fit(model: str | Path, *images: Sequence[LabelledImage], **options: Any) -> Trained:
    from ..training.fit import fit

    return fit(model, *images, **options)
