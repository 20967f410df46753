"""``train``: labelled images to a checkpoint, in a folder that a stopped run goes on in."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..config import ModelChoice
from ..training.settings import FitSettings
from .options import HELP, with_settings

if TYPE_CHECKING:
    from ..io.labelled import LabelledImage
    from ..training.fit import FitProgress, FitResult

PROBLEMS = (ValueError, RuntimeError, OSError, MemoryError)
EVERY_NTH_VALIDATES = 5


class Interrupted(Exception):
    """Ctrl-C, taken up between two steps."""


@partial(with_settings, kind=FitSettings, unset="")
def train(
    images: Annotated[
        Path, typer.Argument(help="A folder with images/ and labels/, or one of images.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The run's folder; a run in it goes on.")
    ],
    labels: Annotated[
        Optional[Path],  # noqa: UP045 - typer's oldest reads no other
        typer.Option(help="A folder of label files named as the images, or a COCO file (.json)."),
    ] = None,
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only the images that split.csv (image, split) puts there."),
    ] = None,
    val: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Images for validation, as IMAGES; else every fifth of IMAGES is."),
    ] = None,
    val_labels: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Their labels, as --labels."),
    ] = None,
    val_split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Their split, of IMAGES if there is no --val."),
    ] = None,
    model: Annotated[str, typer.Option(help=HELP["name"])] = ModelChoice().name,
    **settings: Any,
) -> None:
    """Train a model on labelled images.

    Leaves best.safetensors and last.safetensors for --model, model.pth for segment_anything and
    micro-sam, micro_sam.pt where there is an automatic decoder, curves and samples. Ctrl-C saves
    the run, and the same command goes on with it, as if it had not been stopped. Ends with 2 if
    nothing could be trained, with 130 after Ctrl-C.
    """
    from ..io.labelled import read_labelled
    from ..training.fit import fit

    try:
        chosen = FitSettings(**settings)
        training = read_labelled(images, labels=labels, split=split)
        if val is not None or val_split is not None:
            where = (val, val_labels) if val is not None else (images, labels)
            asked = read_labelled(where[0], labels=where[1], split=val_split)
        else:
            training, asked = parted(training)
        typer.echo(f"{model}, {len(training)} images, validated on {_told(asked)}", err=True)
        with _Bar(chosen.steps) as bar, _interrupts(bar):
            result = fit(model, training, asked, folder=out, settings=chosen, progress=bar.show)
    except Interrupted:
        typer.echo(f"Stopped and saved in {out}; the same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    except PROBLEMS as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    _tell(result)


def parted(
    images: Sequence[LabelledImage],
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Images to train on, and every fifth to validate on; none of less than five."""
    kept = [image for i, image in enumerate(images, start=1) if i % EVERY_NTH_VALIDATES]
    return kept, list(images[EVERY_NTH_VALIDATES - 1 :: EVERY_NTH_VALIDATES])


def _told(asked: Sequence[LabelledImage]) -> str:
    return f"{len(asked)} others" if asked else "the same, as there are few"


def _tell(result: FitResult) -> None:
    """How good the model was and is, and where it lies."""
    scored = [line for line in result.history if "score" in line]
    best = max(scored, key=lambda line: line["score"])
    typer.echo("mean IoU on validation images: click, box")
    for name, line in (("start", scored[0]), ("best", best)):
        typer.echo(f"  {name:5} step {line['step']:<6g} {line['click']:.3f}  {line['box']:.3f}")
    typer.echo(f"best checkpoint -> {result.best}")
    if result.exported is None:
        typer.echo("model.pth: none, as no other tool can read a model of nano's kind")
    else:
        typer.echo(f"for segment_anything and micro-sam -> {result.exported}")
    if result.for_micro_sam is not None:
        typer.echo(f"with its automatic decoder, for micro-sam -> {result.for_micro_sam}")


class _Bar:
    """A progress bar on stderr, where somebody looks; a line for each validation."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._has_begun = False
        self.is_interrupted = False

    def __enter__(self) -> _Bar:
        from tqdm import tqdm

        hidden = not sys.stderr.isatty()
        self._bar: Any = tqdm(total=self._steps, unit="step", disable=hidden, file=sys.stderr)
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def show(self, state: FitProgress) -> None:
        """Called by `fit` between two steps."""
        if not self._has_begun:  # a run that goes on begins in the middle
            self._bar.initial = self._bar.n = max(0, state.step - 1)
            self._has_begun = True
        self._bar.update(state.step - self._bar.n)
        if "loss" in state.losses:
            self._bar.set_postfix(loss=f"{state.losses['loss']:.3f}", refresh=False)
        if state.score is not None:
            click, box = state.losses["click"], state.losses["box"]
            self._bar.clear()
            typer.echo(f"step {state.step}: click {click:.3f}, box {box:.3f}", err=True)
        if self.is_interrupted:
            raise Interrupted


@contextmanager
def _interrupts(bar: _Bar) -> Iterator[None]:
    """Ctrl-C ends the step under way first; a second one ends the command at once."""

    def remember(number: int, frame: object) -> None:
        bar.is_interrupted = True
        signal.signal(signal.SIGINT, before)
        typer.echo("\nfinishing the step, then saving; Ctrl-C again to stop at once", err=True)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
