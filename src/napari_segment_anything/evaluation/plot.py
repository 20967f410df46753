"""Scores as one picture; matplotlib is imported here, and only when a picture is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .calibration import Calibration
from .instances import InstanceScores
from .summary import Evaluation, PromptScores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_INCHES = (4.2, 3.8)
BLUE, ORANGE, GREY = "#1f77b4", "#d95f02", "#888888"


def check_plot(path: Path) -> None:
    """Nothing, or why a plot cannot be written to ``path``; to be asked before hours of work.

    Raises:
        RuntimeError: matplotlib is not installed.
        ValueError: an ending that names no kind of picture.
    """
    kinds = new_figure(1).canvas.get_supported_filetypes()
    if _kind(path) not in kinds:
        raise ValueError(
            f"Expected a plot's name to end in one of .{', .'.join(sorted(kinds))}, got {path}."
        )


def write_plot(path: Path, kind_of: Path, evaluation: Evaluation, title: str) -> None:
    """Draw an evaluation into the file ``path``, a picture of the kind that ``kind_of`` ends in."""
    figure = draw(evaluation, title)
    figure.savefig(path, format=_kind(kind_of), dpi=150)


def draw(evaluation: Evaluation, title: str) -> Figure:
    """IoU by prompts, reliability of the predicted IoU, and AP by threshold: what there is."""
    panels: list[tuple[Any, Any]] = []
    if evaluation.prompts is not None:
        panels.append((_draw_curves, evaluation.prompts))
        panels.append((_draw_reliability, evaluation.prompts.calibration))
    if evaluation.whole is not None:
        panels.append((_draw_precision, evaluation.whole))
    figure = new_figure(max(1, len(panels)))
    figure.suptitle(title)
    for number, (draw_panel, scores) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        draw_panel(axes, scores)
        axes.title.set_fontsize("medium")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    return figure


def _draw_curves(axes: Any, scores: PromptScores) -> None:
    for ious, name, colour, mark in (
        (scores.click_iou, "clicks", BLUE, "o"),
        (scores.box_iou, "box, then clicks", ORANGE, "s"),
    ):
        if ious:
            axes.plot(range(1, len(ious) + 1), ious, color=colour, marker=mark, label=name)
    noc = ", ".join(f"NoC@{100 * target:.0f} = {n:.1f}" for target, n in scores.noc.items())
    axes.set(xlabel="prompts", ylabel="mean IoU", title=f"{scores.objects} objects: {noc}")
    axes.set_xticks(range(1, max(len(scores.click_iou), len(scores.box_iou)) + 1))
    axes.legend(loc="lower right")


def _draw_reliability(axes: Any, scores: Calibration) -> None:
    total = sum(step.count for step in scores.bins)
    for step in scores.bins:
        share = step.count / total
        axes.bar(step.low, share, step.high - step.low, align="edge", color=GREY, alpha=0.3)
    axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1)
    predicted = [step.predicted for step in scores.bins]
    axes.plot(predicted, [step.true for step in scores.bins], color=BLUE, marker="o")
    title = f"first click: |predicted - true| = {scores.mean_error:.3f}"
    axes.set(xlabel="predicted IoU", ylabel="true IoU; part of the objects (bars)", title=title)
    axes.set_xlim(0, 1)


def _draw_precision(axes: Any, scores: InstanceScores) -> None:
    thresholds = list(scores.average_precision)
    values = list(scores.average_precision.values())
    axes.plot(thresholds, values, color=BLUE, marker="o")
    title = f"mean AP = {scores.mean_ap:.3f}, SBD = {scores.sbd:.3f}, AJI = {scores.aji:.3f}"
    axes.set(xlabel="IoU threshold", ylabel="AP", title=title)


def new_figure(panels: int) -> Figure:
    """An empty figure with room for so many panels beside each other.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError(
            "Expected matplotlib for a plot, found none; "
            "install it (pip install matplotlib), or leave --plot out."
        ) from error
    width, height = PANEL_INCHES
    return Figure((width * panels, height), layout="constrained")


def _kind(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
