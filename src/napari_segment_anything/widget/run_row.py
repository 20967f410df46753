"""Where and how exactly the model runs: what can be chosen, what was picked, and why."""

from __future__ import annotations

from dataclasses import fields

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from ..config import PRECISIONS, ModelChoice

_HELP = {setting.name: setting.metadata["help"] for setting in fields(ModelChoice)}


class RunRow(QWidget):
    """Precision, and the device where there are several; ``line`` says what was picked and why.

    ``chosen`` is emitted when a person has chosen; the values are ``device`` and ``precision``.
    """

    chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.running: str | None = None
        self.precision_box = _box("precision")
        self.precision_box.addItems([p for p in PRECISIONS if p != "fp16"])
        self.device_box = _box("device")
        self._on = QLabel("on")
        self.line = QLabel()
        self.line.setWordWrap(True)
        self.line.setStyleSheet("font-size: 11px; color: #8f959e;")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.precision_box, 1)
        layout.addWidget(self._on)
        layout.addWidget(self.device_box, 1)
        for box in (self.precision_box, self.device_box):
            box.activated.connect(lambda _index: self.chosen.emit())
        self._show_device(False)

    @property
    def device(self) -> str:
        """The chosen device."""
        return str(self.device_box.currentText() or "auto")

    @property
    def precision(self) -> str:
        """The chosen precision."""
        return str(self.precision_box.currentText())

    def offer(self, devices: tuple[str, ...], precisions: tuple[str, ...]) -> None:
        """What this machine has; a choice of one is none."""
        _offer(self.device_box, devices)
        _offer(self.precision_box, precisions)
        self._show_device(len(devices) > 2)  # one of them is auto

    def _show_device(self, is_shown: bool) -> None:
        self._on.setVisible(is_shown)
        self.device_box.setVisible(is_shown)

    def show_choice(self, choice: ModelChoice) -> None:
        """Show what is chosen, without telling anybody."""
        _show(self.device_box, choice.device)
        _show(self.precision_box, choice.precision)

    def show_running(self, running: str | None) -> None:
        """Say how the model runs; None: there is no model yet."""
        self.running = running
        self.line.setText(running or "")
        tip = f"The model runs on {running.replace(' · ', ' in ', 1)}." if running else ""
        self.line.setToolTip(tip)


def _box(setting: str) -> QComboBox:
    box = QComboBox()
    box.setToolTip(_HELP[setting])
    return box


def _offer(box: QComboBox, values: tuple[str, ...]) -> None:
    for value in values:
        if box.findText(value) < 0:
            box.addItem(value)


def _show(box: QComboBox, value: str) -> None:
    _offer(box, (value,))
    box.setCurrentText(value)
