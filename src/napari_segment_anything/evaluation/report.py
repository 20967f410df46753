"""Scores as tables that a terminal and Markdown both show, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .calibration import Calibration
from .evaluate import ImageScores
from .instances import InstanceScores
from .summary import Evaluation, PromptScores, summarised

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Rows, at least one, as a Markdown table that is in line on a terminal, too.

    The first row has all columns; others may lack some.
    """
    names = list(rows[0])
    cells = [names, *([_cell(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def report(evaluation: Evaluation) -> str:
    """All tables of an evaluation, each under a line that says what it shows."""
    parts = []
    prompts, whole = evaluation.prompts, evaluation.whole
    if prompts is not None:
        said = f"Mean IoU of {prompts.objects} objects after 1 to {len(prompts.click_iou)} prompts"
        parts.append(f"{said}\n\n{table(prompt_rows(prompts))}")
        error = prompts.calibration.mean_error
        said = f"Predicted IoU of the first click: |predicted - true| is {error:.3f} on average"
        parts.append(f"{said}\n\n{table(reliability_rows(prompts.calibration))}")
    if whole is not None:
        rows = [{**whole_row(whole), "seconds an image": evaluation.auto_seconds}]
        said = f"{evaluation.images} whole images"
        parts.append(f"{said}\n\n{table(rows)}")
    return "\n\n".join(parts) or "No objects, and nothing else was asked."


def prompt_rows(scores: PromptScores) -> list[dict[str, Any]]:
    """Clicks, and a box with clicks after it: mean IoU after each, and numbers of clicks."""
    steps = range(1, max(len(scores.click_iou), len(scores.box_iou)) + 1)
    rows = []
    for what, ious in (("clicks", scores.click_iou), ("box, then clicks", scores.box_iou)):
        row: dict[str, Any] = {"prompts": what}
        row |= {str(n): ious[n - 1] if n <= len(ious) else "" for n in steps}
        for target in scores.noc if what == "clicks" else ():
            row[f"NoC@{100 * target:.0f}"] = scores.noc[target]
            row[f"reach {100 * target:.0f}"] = scores.reached[target]
        if ious:
            rows.append(row)
    return rows


def whole_row(scores: InstanceScores) -> dict[str, Any]:
    """Whole images: numbers of objects, AP at three thresholds and on average, SBD and AJI."""
    row: dict[str, Any] = {"objects": scores.true, "found": scores.found, "matched": scores.matched}
    row |= {f"AP {t:g}": scores.average_precision[t] for t in (0.5, 0.75, 0.9)}
    return row | {"mean AP 0.5:0.9": scores.mean_ap, "SBD": scores.sbd, "AJI": scores.aji}


def reliability_rows(scores: Calibration) -> list[dict[str, Any]]:
    """A row for each step of predicted IoU."""
    return [
        {
            "predicted IoU": f"{step.low:.1f} to {step.high:.1f}",
            "objects": step.count,
            "predicted": step.predicted,
            "true": step.true,
        }
        for step in scores.bins
    ]


def as_json(images: Sequence[ImageScores], about: Mapping[str, Any]) -> str:
    """Everything, pooled and image by image; ``about`` says what was evaluated, and how."""
    each = [{"name": image.name, **asdict(summarised([image]))} for image in images]
    data = {"about": dict(about), "scores": asdict(summarised(images)), "images": each}
    return json.dumps(data, indent=1, allow_nan=False)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "| " + " | ".join(padded) + " |"
