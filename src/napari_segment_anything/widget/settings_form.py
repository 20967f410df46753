"""Controls for `AutoMaskSettings`, built from the settings' own description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from ..config import AutoMaskSettings


class SettingsForm(QWidget):
    """One spin box a setting; tooltips are the settings' help."""

    def __init__(self) -> None:
        super().__init__()
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(3)
        self._boxes: dict[str, QSpinBox | QDoubleSpinBox] = {}
        for setting in fields(AutoMaskSettings):
            if setting.metadata.get("advanced"):
                continue
            box = _box_for(setting.default, setting.metadata)
            self._boxes[setting.name] = box
            layout.addRow(setting.metadata["label"], box)

    def show_defaults(self, card: Mapping[str, Any]) -> None:
        """Fill in a model's settings, the paper's where it has none."""
        for setting in fields(AutoMaskSettings):
            if setting.name in self._boxes:
                self._boxes[setting.name].setValue(card.get(setting.name, setting.default))

    @property
    def values(self) -> dict[str, Any]:
        """Settings by name, those that are shown."""
        return {name: box.value() for name, box in self._boxes.items()}


def _box_for(default: Any, limits: Mapping[str, Any]) -> QSpinBox | QDoubleSpinBox:
    box: QSpinBox | QDoubleSpinBox
    if isinstance(default, int):
        box = QSpinBox()
    else:
        box = QDoubleSpinBox()
        box.setDecimals(2)
        box.setSingleStep(limits.get("step", 0.01))
    box.setRange(limits["min"], limits["max"])
    box.setValue(default)
    box.setToolTip(limits["help"])
    if "unit" in limits:
        box.setSuffix(f" {limits['unit']}")
    return box
