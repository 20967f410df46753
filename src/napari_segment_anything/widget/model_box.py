"""Choose a model: which ones there are, which are on this disk, or a checkpoint file."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog

from ..zoo import download, own_models, registry

BROWSE = "Checkpoint file…"


class ModelBox(QComboBox):
    """Names of models; ``chosen`` carries a name or a path."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for entry in registry.entries():
            self.addItem(_caption(entry), entry.name)
            index = self.count() - 1
            self.setItemData(index, f"{entry.title}. Licence: {entry.licence}.", 3)  # tooltip
        self.addItem(BROWSE, "")
        for path in own_models.own_models():
            self.offer(str(path))
        self._last = 0
        self.setToolTip("nano is built in; the others are downloaded when they are first used")
        self.activated.connect(self._on_activated)

    @property
    def model_name(self) -> str:
        """The chosen name or path."""
        return str(self.itemData(self.currentIndex()) or "nano")

    def show_model(self, name: str) -> None:
        """Show ``name`` as chosen, without telling anybody."""
        self.setCurrentIndex(self.offer(name))
        self._last = self.currentIndex()

    def offer(self, name: str) -> int:
        """Have ``name`` among the choices; returns its place."""
        index = int(self.findData(name))
        if index < 0:
            index = int(self.count()) - 1
            path = Path(name)
            is_own = path.parent == own_models.own_folder()
            self.insertItem(index, f"{path.stem} (improved)" if is_own else path.name, name)
            self.setItemData(index, name, 3)
            self._last = self.currentIndex()
        return index

    def _on_activated(self, index: int) -> None:
        if self.itemData(index) == "":
            self.setCurrentIndex(self._last)
            kinds = "Checkpoints (*.pth *.pt *.safetensors)"
            path, _ = QFileDialog.getOpenFileName(self, "Segment Anything checkpoint", "", kinds)
            if path:
                self.show_model(path)
                self.chosen.emit(path)
            return
        if index != self._last:
            self._last = index
            self.chosen.emit(self.model_name)


def _caption(entry: registry.ModelEntry) -> str:
    if entry.kind == "builtin":
        return f"{entry.name} (built in)"
    if download.is_present(entry):
        return f"{entry.name} (on disk)"
    return f"{entry.name} (download, {entry.download_mb} MB)"
