"""``napari-segment-anything``: the commands. What is slow to import is imported by who needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..config import ModelChoice
from . import engine
from .evaluating import evaluate
from .options import HELP, with_settings
from .training import train

DEFAULT = ModelChoice()
app = typer.Typer(
    help="Segment Anything on files, without a window.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(engine.app, name="engine")

Device = Annotated[str, typer.Option(help=HELP["device"])]
Precision = Annotated[str, typer.Option(help=HELP["precision"])]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="The version.")
    ] = False,
) -> None:
    """Segment Anything on files, without a window."""


@app.command()
@with_settings
def segment(
    images: Annotated[list[Path], typer.Argument(help="PNG, TIFF or JPEG files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the labels.")],
    model: Annotated[str, typer.Option(help=HELP["name"])] = DEFAULT.name,
    device: Device = DEFAULT.device,
    precision: Precision = DEFAULT.precision,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace labels.")] = False,
    **settings: Any,
) -> None:
    """Segment everything in images; NAME.png becomes OUT/NAME_labels.tif, int32, 0 is background.

    Ends with 1 if an image could not be segmented, with 2 if none could be begun.
    """
    from .segmenting import PROBLEMS, FileSegmenter, checked_targets

    segmenter = FileSegmenter(ModelChoice(model, device, precision), settings, overwrite)
    try:
        targets = checked_targets(images, out)
        segmenter.load()
    except PROBLEMS as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    done = [segmenter.segment(i, t) for i, t in zip(images, targets, strict=True)]
    if not all(done):
        raise typer.Exit(1)


app.command()(evaluate)
app.command()(train)


@app.command()
def models() -> None:
    """List the models there are."""
    from ..zoo import download, registry

    rows = [("NAME", "SIZE", "LICENCE", "ON DISK")]
    for entry in registry.entries():
        size = f"{entry.size_mb} MB"
        here = "yes" if download.is_present(entry) else "no"
        rows.append((entry.name, size, entry.licence, here))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@app.command()
def info(device: Device = DEFAULT.device, precision: Precision = DEFAULT.precision) -> None:
    """Say what this machine has, and which precision would be picked."""
    import torch

    from ..inference.runtime import devices, pick_device, pick_precision

    try:
        where = pick_device(device)
        choice = pick_precision(precision, where)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"napari-segment-anything {__version__}")
    typer.echo(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    typer.echo(f"devices: {', '.join(devices()[1:])}")
    typer.echo(f"{where} · {choice.name}: {choice.reason}")


if __name__ == "__main__":
    app()
