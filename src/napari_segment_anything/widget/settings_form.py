"""Controls for `AutoMaskSettings`, built from the settings' own description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeAlias

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QSpinBox, QWidget

from ..config import AUTO_MASK_MODES, AutoMaskSettings


class ChoiceBox(QComboBox):
    """One of a few words; has the spin boxes' methods."""

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__()
        self.addItems(list(choices))

    def value(self) -> str:
        """The chosen word."""
        return str(self.currentText())

    def setValue(self, word: str) -> None:
        """Choose a word."""
        self.setCurrentText(word)

    def offer(self, words: Sequence[str]) -> None:
        """Let only these be chosen; the others stay, grey."""
        items = self.model()
        for row in range(self.count()):
            items.item(row).setEnabled(self.itemText(row) in words)


Box: TypeAlias = QSpinBox | QDoubleSpinBox | ChoiceBox


class SettingsForm(QWidget):
    """One box a setting; tooltips are the settings' help.

    Only settings that count in the chosen mode are shown. ``boxes`` are by the settings' names,
    ``mode_box`` is one of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(3)
        self.boxes: dict[str, Box] = {}
        self._modes: dict[str, Sequence[str]] = {}
        self._auto: Sequence[str] = ("prompts", "grid")
        for setting in fields(AutoMaskSettings):
            if setting.metadata.get("advanced"):
                continue
            box = _box_for(setting.default, setting.metadata)
            self.boxes[setting.name] = box
            self._modes[setting.name] = setting.metadata.get("modes", AUTO_MASK_MODES)
            self._layout.addRow(setting.metadata["label"], box)
        self.mode_box = self.boxes["mode"]
        self.mode_box.currentTextChanged.connect(self._show_what_counts)
        self._show_what_counts()

    def show_defaults(self, card: Mapping[str, Any]) -> None:
        """Fill in a model's settings, the paper's where it has none."""
        for setting in fields(AutoMaskSettings):
            if setting.name in self.boxes:
                self.boxes[setting.name].setValue(card.get(setting.name, setting.default))

    def offer_modes(self, modes: Sequence[str], auto: Sequence[str]) -> None:
        """Offer what a model can do; ``auto`` is what it does by itself."""
        self._auto = auto
        self.mode_box.offer(modes)
        self._show_what_counts()

    @property
    def values(self) -> dict[str, Any]:
        """Settings by name, those that are shown."""
        return {name: box.value() for name, box in self.boxes.items() if self._counts(name)}

    def _counts(self, name: str) -> bool:
        chosen = self.mode_box.value()
        steps = self._auto if chosen == "auto" else (chosen,)
        return any(step in self._modes[name] for step in steps)

    def _show_what_counts(self) -> None:
        for name, box in self.boxes.items():
            is_shown = self._counts(name)
            box.setVisible(is_shown)
            self._layout.labelForField(box).setVisible(is_shown)


def _box_for(default: Any, limits: Mapping[str, Any]) -> Box:
    box: Box
    if "choices" in limits:
        box = ChoiceBox(limits["choices"])
        box.setToolTip(limits["help"])
        return box
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
