"""A part of the dock that is folded away until it is wanted."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QToolButton, QVBoxLayout, QWidget


class Section(QWidget):
    """A title to press, and a ``body`` that appears below it.

    ``grew`` says that there is more to see than before.
    """

    grew = Signal()

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.header = QToolButton()
        self.header.setCheckable(True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.header.setStyleSheet("text-align: left; border: none; padding: 2px;")
        self.header.toggled.connect(self._on_toggled)
        self.body = QWidget()
        self.body.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.header)
        layout.addWidget(self.body)
        self.note("")

    def note(self, words: str) -> None:
        """Say something beside the title, which is seen while the section is folded, too."""
        arrow = "▾" if self.header.isChecked() else "▸"
        self._note = words
        self.header.setText(f"{arrow}  {self.title}{' · ' if words else ''}{words}")

    def _on_toggled(self, is_open: bool) -> None:
        self.body.setVisible(is_open)
        self.note(self._note)
        if is_open:
            self.grew.emit()
