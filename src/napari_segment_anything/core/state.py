"""What a view shows of a session: plain fields that tell when they change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor


@dataclass
class SessionState:
    """Written by the controller, read by the dock; equal values emit nothing.

    ``activity`` is what runs now, ``done`` of ``total`` steps (0 of 0: unknown length).
    ``candidate`` counts from 1 and is 0 without a live mask; ``refining`` is a label, 0 if none.
    """

    model: str = ""
    busy: bool = False
    activity: str = ""
    done: int = 0
    total: int = 0
    candidate: int = 0
    candidates: int = 0
    predicted_iou: float = 0.0
    prompts: int = 0
    waiting: int = 0
    positive: bool = True
    overwrite: bool = False
    refining: int = 0
    segmentable: bool = True
    closed: bool = False
    message: str = ""
    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()
