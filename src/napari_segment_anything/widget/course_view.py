"""How far a training is: step, time left, curve, and a picture of what is predicted."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from ..improving.improvement import Course
from .curve import GROUND, Curve

SAMPLE_PX = 160


class CourseView(QWidget):
    """Shows a `Course`; its curve stays when the training has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._sample_path: str | None = None
        self.bar = QProgressBar()
        self.doing = small_print()
        self.curve = Curve()
        self.sample = QLabel()
        self.sample.setFixedHeight(SAMPLE_PX)  # from the start: what is below must not jump
        self.sample.setStyleSheet(f"background: {GROUND};")
        self.sample.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.sample.setToolTip("A prediction of the model that is learning")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for part in (self.bar, self.doing, self.curve, self.sample):
            layout.addWidget(part)

    @property
    def percent(self) -> str:
        """How much is done, in a word."""
        return f"{self.bar.value()} of {self.bar.maximum()}" if self.bar.maximum() else "…"

    def show_course(self, course: Course, is_running: bool, is_stopping: bool) -> None:
        """Show this state of a training from now on."""
        self.bar.setVisible(is_running)
        self.doing.setVisible(is_running)
        self.bar.setRange(0, course.steps)  # 0 steps: it is not known how far it is
        self.bar.setValue(course.step)
        self.bar.setFormat(f"step {course.step} of {course.steps}")
        left = "" if course.seconds_left is None else f", about {in_words(course.seconds_left)}"
        self.doing.setText("Stopping after this step" if is_stopping else course.doing + left)
        self.curve.show_course(course.steps, course.losses, course.scores)
        self.sample.setVisible(is_running)
        self._show_sample(course.sample)

    def _show_sample(self, path: str | None) -> None:
        """Show a picture's file, read once."""
        if path == self._sample_path:
            return
        self._sample_path = path
        pixmap = QPixmap() if path is None else QPixmap(path)
        if not pixmap.isNull():
            keep = Qt.AspectRatioMode.KeepAspectRatio
            smooth = Qt.TransformationMode.SmoothTransformation
            pixmap = pixmap.scaled(self.width(), SAMPLE_PX, keep, smooth)
        self.sample.setPixmap(pixmap)


def in_words(seconds: float) -> str:
    """Time left, as exactly as a guess can be."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s left"
    return f"{round(seconds / 60)} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def small_print() -> QLabel:
    """A label for what is good to know and need not be read."""
    label = QLabel()
    label.setWordWrap(True)
    label.setStyleSheet("font-size: 11px; color: #8f959e;")
    return label
