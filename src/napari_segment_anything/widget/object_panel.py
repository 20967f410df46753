"""The current object: tools, candidates, commit."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from ..viewer import keys
from ..viewer.layers import BACKGROUND_COLOUR, FOREGROUND_COLOUR
from .attach import AnnotationSession

TOOLS = {
    "Point": ("points", "add", "Click on an object; on what is not part of it after switching"),
    "Box": ("shapes", "add_rectangle", "Drag a box around an object"),
    "Outline": ("shapes", "add_polygon_lasso", "Draw around an object: box and mask at once"),
    "Scribble": ("shapes", "add_path", "Draw a line along an object"),
}


class ObjectPanel(QGroupBox):
    """Buttons act on ``session``; `refresh` shows its state."""

    def __init__(self) -> None:
        super().__init__("Object")
        self.session: AnnotationSession | None = None
        self.tools = {name: self._tool(name) for name in TOOLS}
        self.sign = QPushButton()
        self.sign.setToolTip(f"Whether the next point is part of the object ({keys.TOGGLE})")
        self.sign.clicked.connect(lambda: self._act(lambda s: s.controller.toggle_foreground()))
        self.candidate = QLabel()
        self.next = self._button("Next mask", keys.NEXT, lambda s: s.next_candidate())
        self.commit = self._button("Commit", keys.COMMIT, self._commit)
        self.cancel = self._button("Clear", keys.CANCEL, lambda s: s.cancel())
        self.undo = self._button("Undo prompt", keys.UNDO_PROMPT, lambda s: s.remove_last_prompt())
        self.undo.setToolTip(f"Remove the last prompt ({keys.UNDO_PROMPT})")
        self.refine = self._button(
            "Refine label", keys.REFINE, lambda s: keys.refine_selected(s.controller)
        )
        self.refine.setToolTip(
            f"Take the label selected in the objects layer as a mask prompt ({keys.REFINE})"
        )
        self.overwrite = QCheckBox("New objects overwrite old ones")
        self.overwrite.toggled.connect(self._set_overwrite)
        self._lay_out()
        self.refresh()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(4)
        tools = QHBoxLayout()
        tools.setSpacing(2)
        for button in self.tools.values():
            tools.addWidget(button)
        layout.addLayout(tools)
        layout.addWidget(self.sign)
        layout.addWidget(self.candidate)
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.addWidget(self.next, 0, 0)
        grid.addWidget(self.undo, 0, 1)
        grid.addWidget(self.commit, 1, 0)
        grid.addWidget(self.cancel, 1, 1)
        grid.addWidget(self.refine, 2, 0, 1, 2)
        layout.addLayout(grid)
        layout.addWidget(self.overwrite)

    def _tool(self, name: str) -> QPushButton:
        layer_name, mode, help_text = TOOLS[name]
        button = QPushButton(name)
        button.setToolTip(help_text)

        def use(session: AnnotationSession) -> None:
            layer = getattr(session, layer_name)
            session.controller.viewer.layers.selection.active = layer
            layer.mode = mode

        button.clicked.connect(lambda: self._act(use))
        return button

    def _button(
        self, text: str, key: str, action: Callable[[AnnotationSession], object]
    ) -> QPushButton:
        button = QPushButton(f"{text}  ({key})")
        button.setToolTip(f"{text}; key {key} on the canvas")
        button.clicked.connect(lambda: self._act(action))
        return button

    def _act(self, action: Callable[[AnnotationSession], object]) -> None:
        if self.session is not None:
            action(self.session)

    def _commit(self, session: AnnotationSession) -> None:
        session.commit()

    def _set_overwrite(self, value: bool) -> None:
        if self.session is not None:
            self.session.overwrite = value

    def refresh(self) -> None:
        """Show the session's state."""
        session = self.session
        self.setEnabled(session is not None)
        foreground = session is None or session.foreground
        colour = FOREGROUND_COLOUR if foreground else BACKGROUND_COLOUR
        kind = "foreground" if foreground else "background"
        self.sign.setText(f"●  Next point: {kind}  ({keys.TOGGLE})")
        self.sign.setStyleSheet(f"text-align: left; color: {colour};")
        if session is None:
            return
        self.overwrite.setChecked(session.overwrite)
        current = session.controller.session.current
        count = len(current.order) if current.answer is not None else 0
        self.next.setEnabled(count > 1)
        has_prompt = current.prompt is not None
        self.commit.setEnabled(current.is_pending or current.answer is not None)
        if current.answer is not None and current.iou is not None:
            place = f"Mask {current.chosen % count + 1} of {count}, " if count > 1 else "Mask, "
            self.candidate.setText(f"{place}predicted IoU {current.iou:.2f}")
        else:
            waits = "Waiting for the mask…" if current.is_pending else "No mask: try another prompt"
            self.candidate.setText(waits if has_prompt else "Click on an object")
