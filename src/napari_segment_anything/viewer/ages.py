"""Which prompts are finished, and which of them is the newest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from napari.layers import Points, Shapes

FINISHED_ACTIONS = ("added", "removed", "changed")
CLICKED_MODES = ("add_polygon", "add_polyline", "add_path")
"""Modes of a shapes layer in which a shape takes several clicks, and may be left unfinished."""


class PromptAges:
    """Numbers the points and shapes of a session in the order in which they came.

    napari lists a shape from the moment its drawing begins, and says that it was added when it is
    finished: a shape without an age is still being drawn.
    """

    def __init__(self, points: Points, shapes: Shapes) -> None:
        self._next = count()
        self._shapes = shapes
        self._ages: dict[Points | Shapes, list[int]] = {points: [], shapes: []}
        for layer in (points, shapes):
            self._even_out(layer)

    def note(self, event: Any) -> bool:
        """Take in a layer's ``data`` event; True if it added, removed or changed prompts."""
        layer, action = event.source, str(getattr(event.action, "value", event.action))
        if action not in FINISHED_ACTIONS:
            return False
        ages = self._ages[layer]
        if action == "removed":
            gone = {int(i) % max(1, len(ages)) for i in event.data_indices}
            ages[:] = [age for i, age in enumerate(ages) if i not in gone]
        self._even_out(layer)
        return True

    def _even_out(self, layer: Points | Shapes) -> None:
        """As many ages as prompts; also when all data was replaced at once."""
        ages, have = self._ages[layer], len(layer.data)
        del ages[have:]
        ages.extend(next(self._next) for _ in range(have - len(ages)))

    @property
    def finished_shapes(self) -> int:
        """How many shapes are finished; they come first in the layer."""
        return min(len(self._ages[self._shapes]), len(self._shapes.data))

    def newest(self, layer: Points | Shapes, among: Sequence[int]) -> tuple[int, int]:
        """(age, index) of the newest of a layer's prompts ``among`` indices; (-1, -1) if none."""
        ages = self._ages[layer]
        return max(((ages[i], i) for i in among if i < len(ages)), default=(-1, -1))

    def end_drawing(self) -> bool:
        """Have napari finish, or drop, a shape that is being clicked; False if there is none."""
        shapes = self._shapes
        mode = str(shapes.mode)
        if mode not in CLICKED_MODES or len(shapes.data) <= self.finished_shapes:
            return False
        shapes.mode = "select"
        shapes.mode = mode
        return True
