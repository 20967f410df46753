"""Does a model know how good its masks are? Its predicted IoU against the true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bin:
    """Masks whose predicted IoU lies between ``low`` and ``high``: their number and mean IoUs."""

    low: float
    high: float
    count: int
    predicted: float
    true: float


@dataclass(frozen=True)
class Calibration:
    """``mean_error`` is the mean of \\|predicted - true\\|; ``bins`` are the reliability curve.

    Bins in which nothing lies are left out. Where predicted and true agree the curve is the
    diagonal (DeGroot and Fienberg 1983).
    """

    mean_error: float
    bins: tuple[Bin, ...]


def calibration(predicted: Sequence[float], true: Sequence[float], bins: int = 10) -> Calibration:
    """Predicted and true IoUs of the same masks, at least one, in ``bins`` equal steps of 0..1.

    Predictions below 0 and above 1 are in the first and the last step.
    """
    said, was = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if said.shape != was.shape or said.ndim != 1 or not len(said):
        raise ValueError(f"Expected as many predicted as true IoUs, got {said.shape}, {was.shape}.")
    step = np.clip(np.floor(said * bins), 0, bins - 1).astype(int)
    filled = tuple(
        Bin(
            k / bins,
            (k + 1) / bins,
            int((step == k).sum()),
            float(said[step == k].mean()),
            float(was[step == k].mean()),
        )
        for k in np.unique(step).tolist()
    )
    return Calibration(float(np.abs(said - was).mean()), filled)
