"""A live curve of a training: its loss, and the score on held-out objects."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from ..improving.improvement import Points

HEIGHT_PX = 84
MARGIN_PX = 6
LEGEND_PX = 16
LOSS_COLOUR, SCORE_COLOUR, GROUND = "#8f959e", "#2fd36b", "#1d2026"
LEAST_RANGE = 0.02


def placed(points: Points, steps: int, area: QRectF) -> list[QPointF]:
    """(step, value) in an area: step 0 at its left, ``steps`` at its right, values from its
    bottom to its top; flat ones run through its middle."""
    values = [value for _, value in points]
    low, high = min(values), max(values)
    missing = max(0.0, LEAST_RANGE - (high - low)) / 2
    low, high = low - missing, high + missing
    right, top = area.width() / max(1, steps), area.height() / (high - low)
    return [
        QPointF(area.left() + step * right, area.bottom() - (value - low) * top)
        for step, value in points
    ]


class Curve(QWidget):
    """Two lines, each in a range of its own, and their newest values in words."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0
        self._losses: Points = ()
        self._scores: Points = ()
        self.setFixedHeight(HEIGHT_PX)
        self.setToolTip("Loss of the training, and score on the objects held out from it")

    def show_course(self, steps: int, losses: Points, scores: Points) -> None:
        """Draw these (step, value) from now on."""
        if (steps, losses, scores) != (self._steps, self._losses, self._scores):
            self._steps, self._losses, self._scores = steps, losses, scores
            self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw everything anew; there are few points."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(GROUND))
        inner = QRectF(self.rect()).adjusted(MARGIN_PX, MARGIN_PX, -MARGIN_PX, -MARGIN_PX)
        area = inner.adjusted(0, LEGEND_PX, 0, 0)
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        left = Qt.AlignmentFlag.AlignLeft
        self._draw(painter, area, self._losses, LOSS_COLOUR, f"loss {_last(self._losses)}", left)
        right = Qt.AlignmentFlag.AlignRight
        words = f"held-out score {_last(self._scores)}"
        self._draw(painter, area, self._scores, SCORE_COLOUR, words, right)
        painter.end()

    def _draw(
        self,
        painter: QPainter,
        area: QRectF,
        points: Points,
        colour: str,
        words: str,
        side: Qt.AlignmentFlag,
    ) -> None:
        if not points:
            return
        painter.setPen(QPen(QColor(colour), 1.5))
        legend = QRectF(area.left(), area.top() - LEGEND_PX, area.width(), LEGEND_PX)
        painter.drawText(legend, side, words)
        line = placed(points, self._steps, area)
        painter.drawPolyline(QPolygonF(line))
        painter.setBrush(QColor(colour))
        for dot in line if len(line) <= 20 else line[-1:]:
            painter.drawEllipse(dot, 2, 2)


def _last(points: Sequence[tuple[int, float]]) -> str:
    return f"{points[-1][1]:.2f}" if points else ""
