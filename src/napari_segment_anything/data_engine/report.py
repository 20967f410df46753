"""What each round took and what it brought: rows, a table, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.matching import overlaps_of
from ..evaluation.plot import check_plot, new_figure
from ..evaluation.report import table as markdown
from ..io.writing import whole_file
from .project import Project
from .records import Effort, Labels, Origin, Provenance, Stage, total_effort

SIMULATED_TIME = (
    "Seconds are simulated: clicks, glances and paintings times what the settings say each takes."
)
FOUND_IOU = 0.5
STAGE_COLOURS = {
    Stage.ASSISTED: "#1f77b4",
    Stage.SEMI_AUTOMATIC: "#d95f02",
    Stage.AUTOMATIC: "#7f7f7f",
}


@dataclass(frozen=True)
class Quality:
    """Labels against true ones: ``found``, the part of the true objects that a label of an IoU
    above 0.5 covers, and ``iou``, the mean IoU of these; None where none was found."""

    found: float
    iou: float | None


@dataclass(frozen=True)
class Row:
    """The images annotated in one stage of one round.

    ``kept`` of the ``proposed`` pre-filled masks stayed as they were. ``effort`` is the people's;
    ``machine_seconds`` are an image's on average. ``quality`` is known where a person is simulated.
    """

    round: int
    stage: Stage
    images: int
    objects: int
    effort: Effort
    proposed: int
    kept: int
    machine_seconds: float
    quality: Quality | None

    @property
    def clicks_per_object(self) -> float | None:
        """Clicks over objects; None if nobody counted."""
        clicks = self.effort.clicks
        return None if clicks is None or not self.objects else clicks / self.objects

    @property
    def objects_per_minute(self) -> float | None:
        """Objects over the people's time; None if it is not known, or nobody was needed."""
        return 60 * self.objects / self.effort.seconds if self.effort.seconds else None


@dataclass(frozen=True)
class Report:
    """A project so far: its rows in order, and the held-out scores of its models by round."""

    rows: tuple[Row, ...]
    held_out: Mapping[int, Mapping[str, float]]
    is_simulated: bool

    def text(self) -> str:
        """Tables for a terminal, and what to know of the numbers."""
        parts = []
        if self.rows:
            parts.append(markdown([_cells(row) for row in self.rows]))
        scored = [{"after round": n, **_rounded(s)} for n, s in self.held_out.items() if s]
        if scored:
            parts.append("Held-out images:\n\n" + markdown(scored))
        if self.is_simulated:
            parts.append(SIMULATED_TIME)
        return "\n\n".join(parts) or "Nothing has been annotated yet."

    def to_json(self) -> str:
        """All of it."""
        rows = [
            {
                **asdict(row),
                "clicks_per_object": row.clicks_per_object,
                "objects_per_minute": row.objects_per_minute,
            }
            for row in self.rows
        ]
        held_out = [{"round": n, **scores} for n, scores in self.held_out.items()]
        about = {"rows": rows, "held_out": held_out, "time_is_simulated": self.is_simulated}
        return json.dumps(about, indent=1, allow_nan=False)

    def plot(self, path: Path) -> None:
        """Draw clicks per object, objects per minute and held-out agreement over the rounds.

        Raises:
            RuntimeError: matplotlib is not installed.
            ValueError: an ending that names no kind of picture.
        """
        check_plot(path)
        figure = self._figure()
        with whole_file(path) as partial:
            figure.savefig(partial, format=path.suffix.lower().removeprefix("."), dpi=150)

    def _figure(self) -> Any:
        figure = new_figure(3)
        clicks, speed, agreement = figure.subplots(1, 3)
        self._draw_bars(clicks, "clicks_per_object", "clicks per object")
        self._draw_bars(speed, "objects_per_minute", "objects per minute")
        if self.is_simulated:
            speed.set_title("simulated time", fontsize="medium")
        rounds = [n for n, scores in self.held_out.items() if scores]
        if rounds:
            # A round is annotated with the model of the one before; these images stay the same.
            needed = [self.held_out[n]["clicks"] for n in rounds]
            at = [n + 1 for n in rounds]
            clicks.plot(at, needed, color="black", marker="o", label="held-out images")
        for axes in (clicks, speed):
            axes.margins(y=0.15)
        if self.rows or rounds:
            clicks.legend()
        for name, label in (("click_iou", "IoU of one click"), ("ap50", "AP at IoU 0.5")):
            values = [self.held_out[n][name] for n in rounds]
            agreement.plot(rounds, values, marker="o", label=label)
        agreement.set(xlabel="after round", ylabel="held-out images", ylim=(0, 1), xticks=rounds)
        agreement.legend()
        for axes in (clicks, speed, agreement):
            axes.grid(alpha=0.3)
        return figure

    def _draw_bars(self, axes: Any, name: str, label: str) -> None:
        drawn = [row for row in self.rows if getattr(row, name) is not None]
        for stage in dict.fromkeys(row.stage for row in drawn):
            rows = [row for row in drawn if row.stage is stage]
            values = [getattr(row, name) for row in rows]
            bars = axes.bar(
                [row.round for row in rows], values, label=stage, color=STAGE_COLOURS[stage]
            )
            axes.bar_label(bars, fmt="%.2f")
        axes.set(xlabel="round", ylabel=label, xticks=sorted({row.round for row in drawn}))


def report_of(project: Project) -> Report:
    """Read a project's report out of its folder."""
    truth = project.truth()
    groups: dict[tuple[int, Stage], list[Provenance]] = {}
    every = list(project.provenances().values())
    for provenance in every:
        groups.setdefault((provenance.round, provenance.stage), []).append(provenance)
    order = sorted(groups, key=lambda key: (key[0], list(Stage).index(key[1])))
    rows = tuple(_row(project, *key, groups[key], truth) for key in order)
    held_out = {record.number: record.scores for record in project.rounds()}
    return Report(rows, held_out, any(p.maker.is_simulated for p in every))


def quality_of(pairs: Sequence[tuple[Labels, Labels]]) -> Quality:
    """Labels and true labels (H, W) of some images, objects pooled."""
    best = []
    for labels, true in pairs:
        overlaps = overlaps_of(labels, true)
        of_image = np.zeros(len(overlaps.true_px))
        np.maximum.at(of_image, overlaps.true_index, overlaps.iou)
        best.append(of_image)
    ious = np.concatenate([np.zeros(0), *best])
    found = ious[ious > FOUND_IOU]
    return Quality(
        float(len(found) / len(ious)) if len(ious) else 1.0,
        float(found.mean()) if len(found) else None,
    )


def _row(
    project: Project,
    number: int,
    stage: Stage,
    group: Sequence[Provenance],
    truth: Mapping[str, Labels],
) -> Row:
    known = [p for p in group if p.image in truth]
    pairs = [(project.labels(p.image), truth[p.image]) for p in known]
    objects = [record for p in group for record in p.objects]
    return Row(
        number,
        stage,
        len(group),
        len(objects),
        total_effort(p.effort for p in group),
        sum(p.proposed for p in group),
        sum(record.origin in (Origin.PREFILLED, Origin.AUTOMATIC) for record in objects),
        sum(p.maker.machine_seconds for p in group) / len(group),
        quality_of(pairs) if pairs else None,
    )


def _cells(row: Row) -> dict[str, Any]:
    quality = row.quality
    return {
        "round": row.round,
        "stage": str(row.stage),
        "images": row.images,
        "objects": row.objects,
        "clicks/object": _shown(row.clicks_per_object, 2),
        "painted": "" if row.effort.paintings is None else row.effort.paintings,
        "objects/min": _shown(row.objects_per_minute, 1),
        "pre-filled": row.proposed,
        "kept": row.kept,
        "IoU": _shown(quality.iou if quality else None, 3),
        "found": _shown(quality.found if quality else None, 3),
        "machine s/image": _shown(row.machine_seconds, 1),
    }


def _rounded(scores: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.3f}".removesuffix(".000") for name, value in scores.items()}


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
