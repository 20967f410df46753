"""The measured rows as a table and a plot."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("napari-segment-anything", "segment-anything", "mobilesam-mirror", "torch", "numpy")


@dataclass
class Row:
    """One line of the table: seconds (or MiB, see ``unit``) of both, pair by pair."""

    work: str
    target: str
    reference: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    answers: str = ""
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """Reference over ours, the median over pairs."""
        return statistics.median(a / b for a, b in zip(self.reference, self.ours, strict=True))


def _kept(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    nothing: dict[str, Any] = {"rows": {}, "profiles": {}}
    return json.loads(path.read_text()) if path.exists() else nothing


def _keep(kept: dict[str, Any], folder: Path) -> None:
    (folder / "results.json").write_text(json.dumps(kept, indent=1) + "\n")


def keep(row: Row, folder: Path) -> None:
    """Put a row into ``results.json``, in the place of an older one of this work and processor."""
    kept = _kept(folder)
    today = f"{datetime.date.today()}: {machine()}"
    key = f"{row.work}; {processor()}"
    kept["rows"][key] = {**dataclasses.asdict(row), "measured": today}
    _keep(kept, folder)


def keep_profiles(profiles: dict[str, str], folder: Path) -> None:
    """Put profiles, by precision, into ``results.json``."""
    kept = _kept(folder)
    kept["profiles"].update(profiles)
    _keep(kept, folder)


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
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    return f"{processor()}, Python {platform.python_version()}; {versions}."


def processor() -> str:
    """Its name, the threads in use, and what it computes with."""
    model = platform.processor() or platform.machine()
    for text in _lines(Path("/proc/cpuinfo")):
        if text.startswith("model name"):
            model = text.split(":", 1)[1].strip()
            break
    flags = torch.backends.cpu.get_cpu_capability()
    if torch.cpu._is_amx_tile_supported():
        flags += " and AMX"
    return f"{model}, {torch.get_num_threads()} threads, {flags}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def write(folder: Path) -> None:
    """``results.md`` and ``results.png`` of all that ``results.json`` in ``folder`` holds."""
    kept = _kept(folder)
    machines: dict[str, list[Row]] = {}
    for values in kept["rows"].values():
        where = values.pop("measured")
        machines.setdefault(where, []).append(Row(**values))
    text = """# Speed against the reference

Written by `make bench`. Medians (with range) of runs in turn, A B A B; the ratio is the reference's
over ours, pair by pair. The same random weights, picture (1024 x 1024) and threads for both; the
reference runs in fp32, as its users run it. Targets that name AMX are for CPUs with bf16 matrix
units.
"""
    for where, rows in machines.items():
        text += f"\nMeasured {where}\n\n| work | reference | ours | ratio | target | answers |\n"
        text += "| --- | --- | --- | --- | --- | --- |\n"
        text += "".join(line(row) + "\n" for row in rows)
    text += "\n![ratios](results.png)\n\n## Where the time of an encode goes\n\n"
    text += "On the processor measured last.\n\n"
    (folder / "results.md").write_text(text + "\n".join(kept["profiles"].values()))
    bars = {
        f"{row.work}\n{where.split(': ')[1].split(',')[0]}": row.ratio
        for where, rows in machines.items()
        for row in rows
        if row.reference
    }
    _plot(bars, folder / "results.png")


def _plot(ratios: dict[str, float], path: Path) -> None:
    """A bar for each of ``ratios``, under its name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.5 * len(ratios) + 1.2), layout="constrained")
    bars = axes.barh(list(ratios), list(ratios.values()), color="#3b78a8")
    axes.bar_label(bars, [f"{ratio:.1f}" for ratio in ratios.values()], padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("reference / ours (time or memory; 1 is the reference)")
    axes.margins(x=0.12)
    figure.savefig(path, dpi=110)
    plt.close(figure)
