"""One object on its way into the labels, and the label that it may replace."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..structures import MaskPrediction, Prompt
from .engine import View


@dataclass(frozen=True)
class Refined:
    """A committed label that is being refined, and what it looked like, (H, W) bool."""

    label: int
    mask: NDArray[np.bool_] = field(compare=False)


@dataclass
class ObjectState:
    """One object on its way into the labels.

    ``order`` lists the candidates best first, ``chosen`` is a place in it, counted in a circle.
    ``refines`` is the committed label that it will replace.
    """

    object_id: int
    view: View | None = None
    prompt: Prompt | None = None
    serial: int = 0
    answered: int = 0
    answer: MaskPrediction | None = None
    order: tuple[int, ...] = ()
    chosen: int = 0
    refines: Refined | None = None
    overwrite: bool = False

    @property
    def is_pending(self) -> bool:
        """True while the newest prompt has no answer."""
        return self.prompt is not None and self.answered < self.serial

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """The chosen candidate's mask, (H, W)."""
        return None if self.answer is None else self.answer.masks[self.candidate]

    @property
    def iou(self) -> float | None:
        """The chosen candidate's predicted IoU."""
        return None if self.answer is None else float(self.answer.iou[self.candidate])

    @property
    def candidate(self) -> int:
        """Index of the chosen candidate in the answer."""
        return self.order[self.chosen % len(self.order)]

    def forget_answer(self) -> None:
        """The newest prompt will get no answer, and the one before no longer counts."""
        self.answer, self.answered = None, self.serial

    def knows(self, view: View, prompt: Prompt, refines: Refined | None) -> bool:
        """True if this very prompt is answered, or will be."""
        if self.prompt is None or not (self.is_pending or self.answer is not None):
            return False
        same = self.view == view and self.refines == refines
        return same and self.prompt.says_the_same(prompt)
