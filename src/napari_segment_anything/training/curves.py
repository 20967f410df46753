"""A run's numbers as a picture and as TensorBoard's events; both only where it is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..evaluation.plot import new_figure
from ..io.writing import whole_file

SCORES = ("click", "box", "score")
SMOOTHED_OVER = 25
"""Curves of losses have a running mean over so many steps, at most a tenth of the run."""


def write_curves(path: Path, numbers: Sequence[Mapping[str, float]], title: str) -> bool:
    """Plot losses and scores over steps into a PNG; False, and no file, without matplotlib."""
    if find_spec("matplotlib") is None:
        return False
    figure = new_figure(2)
    figure.suptitle(title)
    losses, scores = figure.subplots(1, 2)
    for name, axes in (("loss", losses), ("dense", losses), *((s, scores) for s in SCORES)):
        points = [(line["step"], line[name]) for line in numbers if name in line]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        smooth = values if axes is scores else _running_mean(values)
        axes.plot(steps, smooth, label=name, marker="." if axes is scores else None)
    losses.set(xlabel="step", ylabel="loss, running mean")
    scores.set(xlabel="step", ylabel="mean IoU, validation")
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
    return True


def _running_mean(values: Sequence[float]) -> list[float]:
    """Of each value and those before it."""
    width = max(1, min(SMOOTHED_OVER, len(values) // 10))
    return [
        sum(part) / len(part)
        for part in (values[max(0, i + 1 - width) : i + 1] for i in range(len(values)))
    ]


def check_events() -> None:
    """Nothing, or why there cannot be event files; to be asked before hours of work.

    Raises:
        RuntimeError: TensorBoard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise RuntimeError(
            "Expected tensorboard for its event files, found none; install it "
            "(pip install tensorboard), or leave the setting out."
        )


class Events:
    """TensorBoard's event files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def add(self, numbers: Mapping[str, float], picture: Any = None) -> None:
        """One step's numbers and, if there is one, its picture (H, W, 3)."""
        step = int(numbers["step"])
        for name, value in numbers.items():
            if name != "step":
                kind = "validation" if name in SCORES else "training"
                self._writer.add_scalar(f"{kind}/{name}", value, step)
        if picture is not None:
            self._writer.add_image("validation/sample", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
