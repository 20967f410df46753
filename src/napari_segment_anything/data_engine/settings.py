"""What can be chosen about a data engine, with defaults and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..settings import check_all, setting


@dataclass(frozen=True)
class EngineSettings:
    """How rounds are made, and which masks count as confident.

    Segment Anything's own models are confident at a predicted IoU of 0.88 and a stability of 0.95
    (B of the paper). `nano`'s logits are softer: of its masks on 20 nuclei images it had not been
    trained on, 72 % of those above 0.8 and 0.8 matched an object with an IoU of 0.85 and more.
    """

    images_per_round: int = setting(
        6, min=1, max=1_000_000, help="Images annotated before each training."
    )
    assisted_rounds: int = setting(
        1,
        min=0,
        max=1000,
        help="First rounds in which nothing is pre-filled; the others are semi-automatic.",
    )
    confident_iou: float = setting(
        0.8, min=0.0, max=1.0, help="Masks are pre-filled and automatic above this predicted IoU."
    )
    confident_stability: float = setting(
        0.8, min=0.0, max=1.0, help="Masks are pre-filled and automatic above this stability."
    )
    validation_every: int = setting(
        5,
        min=2,
        max=1000,
        help="Every n-th annotated image chooses the checkpoint instead of training it.",
    )

    def __post_init__(self) -> None:
        check_all(self)

    @property
    def confident(self) -> Mapping[str, float]:
        """As settings of `auto_mask`."""
        return {
            "pred_iou_thresh": self.confident_iou,
            "stability_score_thresh": self.confident_stability,
        }


@dataclass(frozen=True)
class Pace:
    """The simulated person's time: an assumption, not a measurement."""

    seconds_per_click: float = setting(
        1.5, min=0.0, max=3600.0, help="One click of an object, with a look at its answer."
    )
    seconds_per_glance: float = setting(
        0.5,
        min=0.0,
        max=3600.0,
        help="One look at a pre-filled mask, or at another of three candidates.",
    )
    seconds_per_rejection: float = setting(
        1.5, min=0.0, max=3600.0, help="A pre-filled mask taken away, on top of the look at it."
    )
    seconds_per_painting: float = setting(
        20.0, min=0.0, max=3600.0, help="An object painted with the brush, after its clicks."
    )

    def __post_init__(self) -> None:
        check_all(self)

    def seconds(
        self, clicks: int = 0, glances: int = 0, rejections: int = 0, paintings: int = 0
    ) -> float:
        """What they take together; ``clicks`` are those that draw."""
        return (
            clicks * self.seconds_per_click
            + glances * self.seconds_per_glance
            + rejections * self.seconds_per_rejection
            + paintings * self.seconds_per_painting
        )
