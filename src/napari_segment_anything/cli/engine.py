"""``napari-segment-anything engine``: annotate, train, annotate faster, over one folder."""
# ruff: noqa: UP045 - typer's oldest reads no other optional types

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..config import ModelChoice
from ..data_engine.settings import EngineSettings, Pace
from ..training.settings import FitSettings
from .options import HELP, picked, with_settings

if TYPE_CHECKING:
    from ..data_engine.annotator import Annotator
    from ..data_engine.engine import DataEngine, EngineProgress
    from ..data_engine.project import Project

DEFAULT_MODEL = ModelChoice().name
app = typer.Typer(
    help="A data engine: annotate, train, annotate faster (Kirillov et al. 2023, section 4).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Argument(help="The project's folder.")]
Names = Annotated[
    Optional[list[str]],
    typer.Argument(help="Names of images, without ending; by default all left."),
]
Model = Annotated[str, typer.Option(help=HELP["name"])]
Json = Annotated[Optional[Path], typer.Option(help="Also write the report here.")]
Plot = Annotated[Optional[Path], typer.Option(help="Also draw it here; needs matplotlib.")]

CHOSEN = EngineSettings()


def _option(name: str) -> Any:
    """The option of a field of `EngineSettings`."""
    metadata = next(field.metadata for field in fields(EngineSettings) if field.name == name)
    return typer.Option(min=metadata["min"], max=metadata["max"], help=metadata["help"])


ConfidentIou = Annotated[float, _option("confident_iou")]
ConfidentStability = Annotated[float, _option("confident_stability")]


@app.command()
def init(
    folder: Folder,
    images: Annotated[Optional[list[Path]], typer.Argument(help="Files to copy into it.")] = None,
    model: Model = DEFAULT_MODEL,
    held_out: Annotated[
        Optional[Path],
        typer.Option(help="Folder with images/ and labels/ that only scores read; copied."),
    ] = None,
) -> None:
    """Begin a project, or add images to it."""
    with _problems():
        from ..data_engine.project import Project
        from ..io.labelled import labelled_files

        project = Project.create(folder, model)
        project.add_files(images or [])
        for file in labelled_files(held_out) if held_out is not None else []:
            project.add_held_out(file.read())
        typer.echo(f"{folder}: {len(project.images())} images, model {project.start_model}")


@app.command()
def prefill(
    folder: Folder,
    names: Names = None,
    confident_iou: ConfidentIou = CHOSEN.confident_iou,
    confident_stability: ConfidentStability = CHOSEN.confident_stability,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write them anew.")] = False,
) -> None:
    """Write the newest model's confident masks as label files, to be corrected in napari."""
    with _problems():
        project = _opened(folder)
        engine = _engine(project, settings=_confident(confident_iou, confident_stability))
        chosen = names or project.waiting()
        kept = [n for n in chosen if project.prefilled(n) is not None and not overwrite]
        for name in kept:
            typer.echo(f"{name}: waits already, --overwrite writes it anew", err=True)
        for path in engine.prefill([name for name in chosen if name not in kept]):
            typer.echo(path)


@app.command()
def take(
    folder: Folder,
    labels: Annotated[list[Path], typer.Argument(help="Label files named as their images.")],
    minutes: Annotated[
        Optional[float], typer.Option(min=0, help="What annotating all of them took.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace labels.")] = False,
) -> None:
    """Take labels in that were made or corrected in napari: NAME.tif or NAME_labels.tif."""
    with _problems():
        from ..io.images import read_labels
        from ..io.labelled import LABELS_ENDING

        project = _opened(folder)
        engine = _engine(project)
        known = project.images()
        read = []
        for path in labels:
            name = path.stem if path.stem in known else path.stem.removesuffix(LABELS_ENDING)
            read.append((name, read_labels(path)))
        seconds = None if minutes is None else 60 * minutes / len(read)
        for name, array in read:
            taken = engine.take(name, array, seconds, overwrite)
            typer.echo(f"{name}: {len(taken.objects)} objects, round {engine.round}")


@app.command()
@partial(with_settings, kind=FitSettings, unset="")
def train(folder: Folder, **settings: Any) -> None:
    """Train on what people have annotated, score held-out images, begin the next round.

    A training that was stopped goes on with the same settings.
    """
    with _problems():
        engine = _engine(_opened(folder), FitSettings(**settings))
        record = engine.train()
        typer.echo(f"round {record.number}: {len(record.images)} images -> {record.model}")
        _echo_report(engine.project)


@app.command()
def auto(
    folder: Folder,
    names: Names = None,
    confident_iou: ConfidentIou = CHOSEN.confident_iou,
    confident_stability: ConfidentStability = CHOSEN.confident_stability,
) -> None:
    """Annotate images fully automatically: confident, stable masks, duplicates removed."""
    with _problems():
        from ..data_engine.records import Stage

        project = _opened(folder)
        engine = _engine(project, settings=_confident(confident_iou, confident_stability))
        engine.annotate(Stage.AUTOMATIC, names or project.waiting())
        _echo_report(project)


@app.command()
def status(
    folder: Folder,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Say what is annotated, what it took, and how good the models are."""
    with _problems():
        _check_plot(plot)
        project = _opened(folder)
        rounds, waiting = project.rounds(), project.waiting()
        model = rounds[-1].model if rounds else project.start_model
        typer.echo(f"round {max(1, len(rounds))}, model {model}, {len(waiting)} images wait\n")
        _echo_report(project, json, plot)


@app.command()
@partial(with_settings, kind=FitSettings, unset="")
@partial(with_settings, kind=Pace, unset="")
def simulate(
    folder: Folder,
    data: Annotated[Path, typer.Option(help="Labelled images: images/, labels/, split.csv.")],
    rounds: Annotated[int, typer.Option(min=1, help="Trainings.")] = 3,
    images: Annotated[int, _option("images_per_round")] = CHOSEN.images_per_round,
    assisted_rounds: Annotated[int, _option("assisted_rounds")] = CHOSEN.assisted_rounds,
    automatic: Annotated[int, typer.Option(min=0, help="Images annotated at the end.")] = 6,
    held_out: Annotated[int, typer.Option(min=0, help="Images scored after each round.")] = 6,
    model: Model = DEFAULT_MODEL,
    noise: Annotated[
        float, typer.Option(min=0, help="Weaken the model's decoder by noise, as a part of it.")
    ] = 0.0,
    corruption: Annotated[
        Optional[str], typer.Option(help="Make all images worse: inverted, blurred, noisy ...")
    ] = None,
    image_px: Annotated[
        Optional[int], typer.Option(min=16, help="Take only the middle of larger images.")
    ] = None,
    target_iou: Annotated[float, typer.Option(help="IoU at which the person is content.")] = 0.85,
    most_clicks: Annotated[int, typer.Option(min=1, help="Clicks on one object.")] = 8,
    paints: Annotated[
        bool, typer.Option(help="Whether what clicks leave bad is painted, or left.")
    ] = True,
    confident_iou: ConfidentIou = CHOSEN.confident_iou,
    confident_stability: ConfidentStability = CHOSEN.confident_stability,
    json: Json = None,
    plot: Plot = None,
    **settings: Any,
) -> None:
    """Run a whole engine with a simulated person, who clicks by true labels; can be resumed.

    The seed decides which images are drawn, too.
    """
    with _problems():
        _check_plot(plot)
        from ..data_engine.annotator import SimulatedAnnotator
        from ..data_engine.simulation import Setup, simulated_project

        count = rounds * images + automatic
        training = picked(FitSettings, settings)
        setup = Setup(model, count, held_out, training.seed, corruption, image_px, noise)
        project = simulated_project(folder, data, setup)
        pace = picked(Pace, settings)
        person = SimulatedAnnotator(project.truth(), target_iou, most_clicks, paints, pace)
        engine = _engine(
            project,
            training,
            person,
            EngineSettings(
                images_per_round=images,
                assisted_rounds=assisted_rounds,
                confident_iou=confident_iou,
                confident_stability=confident_stability,
            ),
        )
        engine.run(rounds, automatic)
        _echo_report(project, json, plot)


@contextmanager
def _problems() -> Iterator[None]:
    """What can be put right by the person ends the command with a line and exit status 2."""
    from .segmenting import PROBLEMS

    try:
        yield
    except PROBLEMS as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _confident(iou: float, stability: float) -> EngineSettings:
    return EngineSettings(confident_iou=iou, confident_stability=stability)


def _opened(folder: Path) -> Project:
    from ..data_engine.project import Project

    return Project(folder)


def _engine(
    project: Project,
    training: FitSettings | None = None,
    annotator: Annotator | None = None,
    settings: EngineSettings | None = None,
) -> DataEngine:
    """An engine whose models run where they are trained."""
    from ..data_engine.engine import DataEngine
    from ..training.fit import fit
    from ..zoo.loader import load_model

    training = training or FitSettings()
    return DataEngine(
        project,
        annotator,
        settings,
        train=partial(fit, settings=training),
        load=partial(load_model, device=training.device),
        progress=_Teller(),
    )


def _check_plot(path: Path | None) -> None:
    """See that a plot can be written before work begins."""
    if path is not None:
        from ..evaluation.plot import check_plot

        check_plot(path)


def _echo_report(project: Project, json: Path | None = None, plot: Path | None = None) -> None:
    from ..data_engine.report import report_of

    report = report_of(project)
    typer.echo(report.text())
    if json is not None:
        json.write_text(report.to_json(), encoding="utf-8")
    if plot is not None:
        report.plot(plot)


class _Teller:
    """A line on stderr for each image, and for each tenth of a training."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, at: EngineProgress) -> None:
        done = at.done
        if at.what == "training":
            done = at.done * 10 // max(1, at.total) * at.total // 10
        line = f"round {at.round}: {at.what} {done} of {at.total} {at.detail}".rstrip()
        if line != self._last:
            typer.echo(line, err=True)
            self._last = line
