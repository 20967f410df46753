"""``evaluate``: a model on a folder of labelled images, as tables, JSON and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..config import ModelChoice
from .options import HELP
from .progress import Line

if TYPE_CHECKING:
    from ..evaluation.evaluate import ImageScores, Plan
    from ..inference.model import Model
    from ..io.labelled import LabelledFile

DEFAULT = ModelChoice()
PROBLEMS = (ValueError, RuntimeError, OSError, MemoryError)


# Options that can be left out are Optional: typer's oldest reads no other.
Images = Annotated[
    Path, typer.Argument(help="A folder with images/ and labels/, or one of images.")
]
Labels = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="A folder of label files named as the images, or a COCO file (.json)."),
]
Split = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Only the images that split.csv (image, split) puts there."),
]
Clicks = Annotated[int, typer.Option(min=0, max=100, help="Prompts an object; 0 prompts none.")]
Auto = Annotated[bool, typer.Option(help="Also segment whole images.")]
Limit = Annotated[Optional[int], typer.Option(min=1, help="The first so many images.")]  # noqa: UP045
Json = Annotated[Optional[Path], typer.Option(help="Write all scores into this file.")]  # noqa: UP045
Plot = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Draw the scores into this file (.png, .svg, .pdf); needs matplotlib."),
]


def evaluate(
    images: Images,
    labels: Labels = None,
    model: Annotated[str, typer.Option(help=HELP["name"])] = DEFAULT.name,
    split: Split = None,
    clicks: Clicks = 8,
    auto: Auto = True,
    limit: Limit = None,
    json: Json = None,
    plot: Plot = None,
    device: Annotated[str, typer.Option(help=HELP["device"])] = DEFAULT.device,
    precision: Annotated[str, typer.Option(help=HELP["precision"])] = DEFAULT.precision,
) -> None:
    """Measure how good a model's masks are on images with labels.

    Every object is prompted alone, by clicks and by a box that are corrected as a person would,
    and the whole image is segmented. Ends with 1 if an image had to be left out, with 2 if nothing
    could be evaluated.
    """
    from ..evaluation.evaluate import Plan
    from ..evaluation.report import report
    from ..evaluation.summary import summarised
    from ..io.labelled import labelled_files
    from ..zoo.loader import load_model

    try:
        _check_targets(json, plot)
        files = labelled_files(images, labels=labels, split=split)[:limit]
        loaded = load_model(model, device, precision, progress=Line("Downloading").show)
    except PROBLEMS as error:
        Line.clear()
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    Line.clear()
    runs_as = f"{loaded.device} · {loaded.precision}"
    typer.echo(f"{loaded.name} on {runs_as}: {len(files)} images", err=True)
    scores = list(_scored(loaded, files, Plan(clicks, clicks, auto)))
    if not scores:
        raise typer.Exit(2)
    title = f"{loaded.name} on {_what(images, split)}, {len(scores)} images"
    typer.echo(f"{title}\n\n{report(summarised(scores))}")
    done = {score.name for score in scores}
    about = {
        "model": loaded.name,
        "digest": loaded.digest,
        "runs as": runs_as,
        "images": str(images.resolve()),
        "labels": None if labels is None else str(labels.resolve()),
        "split": split,
        "left out": [file.name for file in files if file.name not in done],
    }
    try:
        _write(scores, about, title, json, plot)
    except OSError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if len(scores) < len(files):
        raise typer.Exit(1)


def _scored(model: Model, files: Sequence[LabelledFile], plan: Plan) -> Iterator[ImageScores]:
    """Scores of the images that can be evaluated; the others are told, and left out."""
    from ..evaluation.evaluate import evaluate_image

    for number, file in enumerate(files, start=1):
        line = Line(f"{number} of {len(files)}, {file.name}")
        try:
            yield evaluate_image(model, file.read(), plan, line.show)
        except PROBLEMS as error:
            line.clear()
            typer.echo(f"{file.image}: {' '.join(str(error).split())}", err=True)
        line.clear()


def _check_targets(json: Path | None, plot: Path | None) -> None:
    """Nothing, or why a file could not be written; asked before the work, not after it."""
    from ..evaluation.plot import check_plot

    if plot is not None:
        check_plot(plot)
    for path in (json, plot):
        if path is not None and (path.is_dir() or not path.resolve().parent.is_dir()):
            raise ValueError(f"Expected a file in a folder that is there, got {path}.")


def _write(
    scores: Sequence[ImageScores],
    about: Mapping[str, object],
    title: str,
    json: Path | None,
    plot: Path | None,
) -> None:
    """JSON and picture, each whole or not at all."""
    from ..evaluation.plot import write_plot
    from ..evaluation.report import as_json
    from ..evaluation.summary import summarised
    from ..io.writing import whole_file

    if json is not None:
        with whole_file(json) as partial:
            partial.write_text(as_json(scores, about), encoding="utf-8")
        typer.echo(f"scores -> {json}", err=True)
    if plot is not None:
        with whole_file(plot) as partial:
            write_plot(partial, plot, summarised(scores), title)
        typer.echo(f"plot -> {plot}", err=True)


def _what(images: Path, split: str | None) -> str:
    name = images.resolve().name
    return name if split is None else f"{name} ({split})"
