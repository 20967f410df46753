"""The measured rows as a table and a plot."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .speed import Row

PACKAGES = ("napari-segment-anything", "segment-anything", "mobilesam-mirror", "torch", "numpy")


def line(row: Row) -> str:
    """One row of the table: medians, ratio with its range, target, answers."""
    ours = _spread(row.ours, row.unit)
    if not row.reference:
        return f"| {row.work} | | {ours} | | {row.target} | {row.answers} |"
    ratios = sorted(a / b for a, b in zip(row.reference, row.ours, strict=True))
    ratio = f"**{row.ratio:.2f}**"
    if len(ratios) > 1:
        ratio += f" ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    theirs = _spread(row.reference, row.unit)
    return f"| {row.work} | {theirs} | {ours} | {ratio} | {row.target} | {row.answers} |"


def _spread(values: list[float], unit: str) -> str:
    def text(value: float) -> str:
        return f"{value:.0f}" if unit == "MiB" else f"{value:.3g}"

    middle = text(statistics.median(values))
    if len(values) == 1:
        return f"{middle} {unit}"
    return f"{middle} {unit} ({text(min(values))}-{text(max(values))})"


def machine() -> str:
    """Processor, threads and versions, in a sentence."""
    model = platform.processor() or platform.machine()
    for text in _lines(Path("/proc/cpuinfo")):
        if text.startswith("model name"):
            model = text.split(":", 1)[1].strip()
            break
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    flags = torch.backends.cpu.get_cpu_capability()
    return (
        f"{model}, {torch.get_num_threads()} threads, {flags}, Python "
        f"{platform.python_version()}; {versions}."
    )


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def write(rows: list[Row], profiles: list[str], folder: Path) -> None:
    """``results.md`` and ``results.png`` in ``folder``."""
    text = f"""# Speed against the reference

Measured {datetime.date.today()} by `make bench`: {machine()}

Medians (with range) of runs in turn, A B A B; the ratio is the reference's over ours, pair by
pair. The same random weights, picture (1024 x 1024) and threads for both; the reference runs in
fp32, as its users run it.

| work | reference | ours | ratio | target | answers |
| --- | --- | --- | --- | --- | --- |
"""
    text += "".join(line(row) + "\n" for row in rows)
    text += "\n![ratios](results.png)\n\n## Where the time of an encode goes\n\n"
    (folder / "results.md").write_text(text + "\n".join(profiles))
    _plot([row for row in rows if row.reference], folder / "results.png")


def _plot(rows: list[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.2), layout="constrained")
    names, ratios = [row.work for row in rows], [row.ratio for row in rows]
    bars = axes.barh(names, ratios, color="#3b78a8")
    axes.bar_label(bars, [f"{ratio:.1f}" for ratio in ratios], padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("reference / ours (time or memory; 1 is the reference)")
    axes.margins(x=0.12)
    figure.savefig(path, dpi=110)
    plt.close(figure)
