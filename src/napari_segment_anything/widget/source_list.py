"""What a model can learn from: pairs of layers, and folders of labelled images, to be ticked."""

from __future__ import annotations

from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from ..viewer.annotated import LayerPair, pairs_in

Source = LayerPair | Path
ROW_PX = 22
MOST_ROWS = 4


class SourceList(QListWidget):
    """One row a source; a person's ticks stay while layers come and go.

    ``default`` is the pair that is ticked until a person says otherwise.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.default: LayerPair | None = None
        self._viewer = viewer
        self._folders: list[Path] = []
        self._rows: list[Source] = []
        self._said: list[tuple[Source, bool]] = []
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.itemChanged.connect(self._on_item)

    @property
    def sources(self) -> list[Source]:
        """Those that are ticked."""
        return [source for source in self._rows if self._is_ticked(source)]

    def add_folder(self, folder: Path) -> None:
        """Offer a folder, ticked."""
        if folder not in self._folders:
            self._folders.append(folder)
        self.refresh()

    def refresh(self) -> None:
        """Offer what there is now."""
        self._rows = [*pairs_in(self._viewer), *self._folders]
        self._said = [(one, ticked) for one, ticked in self._said if one in self._rows]
        self.blockSignals(True)
        self.clear()
        for source in self._rows:
            self.addItem(self._item(source))
        self.blockSignals(False)
        self.setFixedHeight(ROW_PX * min(MOST_ROWS, max(1, self.count())) + 4)

    def forget_layers(self) -> None:
        """Hold no layer, so that those that are removed can go."""
        self.default, self._rows, self._said = None, [], []
        self.clear()

    def _is_ticked(self, source: Source) -> bool:
        said = [ticked for one, ticked in self._said if one == source]
        return said[-1] if said else isinstance(source, Path) or source == self.default

    def _item(self, source: Source) -> QListWidgetItem:
        is_folder = isinstance(source, Path)
        item = QListWidgetItem(f"{source.name}/" if isinstance(source, Path) else str(source))
        item.setSizeHint(QSize(0, ROW_PX))
        item.setToolTip(str(source) if is_folder else f"Labels of {source}, plane by plane")
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
        ticked = Qt.CheckState.Checked if self._is_ticked(source) else Qt.CheckState.Unchecked
        item.setCheckState(ticked)
        return item

    def _on_item(self, item: QListWidgetItem) -> None:
        is_ticked = item.checkState() == Qt.CheckState.Checked
        self._said.append((self._rows[self.row(item)], is_ticked))
