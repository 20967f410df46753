"""Two models, the same held-out objects: which is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Verdict:
    """Mean IoU on the held-out objects before and after training, and what to make of it."""

    before: float
    after: float
    objects: int
    is_better: bool

    def __str__(self) -> str:
        """``0.71 -> 0.78 on 12 held-out objects``."""
        return f"{self.before:.2f} → {self.after:.2f} on {self.objects} held-out objects"


def verdict(before: Sequence[float], after: Sequence[float]) -> Verdict:
    """Judge by the IoUs of the same objects, before and after.

    Better is a mean gain above its own standard error: a difference that a few objects can make by
    chance is none.

    Raises:
        ValueError: no objects, or not the same number.
    """
    old, new = np.asarray(before, float), np.asarray(after, float)
    if len(old) == 0 or old.shape != new.shape:
        raise ValueError(f"Expected IoUs of the same objects, got {len(old)} and {len(new)}.")
    gains = new - old
    spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    is_better = bool(gains.mean() > spread / len(gains) ** 0.5)
    return Verdict(float(old.mean()), float(new.mean()), len(old), is_better)
