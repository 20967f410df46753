"""Whole-image segmentation, and what the worker is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from .settings_form import SettingsForm

if TYPE_CHECKING:
    from ..inference.card import ModelCard
    from ..inference.model import Model


class WholeImagePanel(QGroupBox):
    """Settings, start, status and stop."""

    def __init__(self) -> None:
        super().__init__("Whole image")
        self.form = SettingsForm()
        self.start = QPushButton("Segment everything")
        self.start.setToolTip("Adds all objects to the objects layer, in one undo step")
        self.stop = QPushButton("Cancel")
        self.stop.setToolTip("Stop encoding or segmenting")
        self.status = QLabel()
        self._card: ModelCard | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(4)
        layout.addWidget(self.form)
        layout.addWidget(self.start)
        row = QHBoxLayout()
        row.addWidget(self.status, 1)
        row.addWidget(self.stop)
        layout.addLayout(row)

    def show_status(self, text: str, *, busy: bool, can_start: bool) -> None:
        """Say what the worker does, and offer what can be done about it."""
        self.status.setText(text)
        self.stop.setEnabled(busy)
        self.start.setEnabled(can_start)

    def show_model(self, model: Model) -> None:
        """Fill in the settings of a model and offer its modes, once, when it is loaded."""
        if model.card is not self._card:
            self._card = model.card
            self.form.show_defaults(model.card.automask)
            self.form.offer_modes(model.modes, model.does_by_itself)
