"""The dock widget: shows a session and passes on what is pressed; decides nothing."""

from __future__ import annotations

import threading
from typing import Any

from magicgui.widgets import create_widget
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QFormLayout, QFrame, QScrollArea, QVBoxLayout, QWidget

from .attach import AnnotationSession, attach, rest_unwatched, session_of
from .improve_panel import ImprovePanel
from .model_box import ModelBox
from .object_panel import ObjectPanel
from .run_row import RunRow
from .whole_panel import WholeImagePanel


class SegmentAnythingDock(QWidget):
    """Image, model, the current object, whole-image segmentation, and the model's improvement.

    ``session`` is the annotation session of the chosen image, None while there is no image.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session: AnnotationSession | None = None
        threading.Thread(target=_import_torch, name="import torch", daemon=True).start()
        self.image_box = create_widget(annotation=Image, label="Image", options={"nullable": True})
        self.model_box = ModelBox()
        self.run_row = RunRow()
        self.object_panel = ObjectPanel()
        self.whole_panel = WholeImagePanel()
        self.improve_panel = ImprovePanel(self.viewer)
        self._lay_out()
        self.image_box.changed.connect(self._on_image)
        self.model_box.chosen.connect(self._on_model)
        self.run_row.chosen.connect(self._on_model)
        self.whole_panel.start.clicked.connect(self._on_auto_mask)
        self.whole_panel.stop.clicked.connect(self._on_stop)
        self.improve_panel.model_made.connect(self.model_box.offer)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.addRow("Image", self.image_box.native)
        form.addRow("Model", self.model_box)
        form.addRow("Precision", self.run_row)
        form.addRow(self.run_row.line)
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.setSpacing(6)
        layout.addLayout(form)
        layout.addWidget(self.object_panel)
        layout.addWidget(self.whole_panel)
        layout.addWidget(self.improve_panel)
        layout.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(270)
        # Once the section has its room, so that there is something to scroll to.
        show = lambda: scroll.ensureWidgetVisible(self.improve_panel)  # noqa: E731
        self.improve_panel.grew.connect(lambda: QTimer.singleShot(0, show))

    # napari calls this when layers come, go or are renamed, once the widget is docked
    def reset_choices(self, event: Any = None) -> None:
        """Offer the viewer's image layers; where none is chosen, begin with one that has come.

        A layer that goes must not begin a session: that would add layers while the viewer is
        being emptied, without end.
        """
        before = self.image_box.value
        self.image_box.reset_choices(event)
        self.improve_panel.sources.refresh()
        if self.image_box.value is not before:
            self._on_image(self.image_box.value)
            return
        has_come = event is not None and event.type == "inserted"
        if before is None and has_come and isinstance(event.value, Image):
            self.image_box.value = event.value

    def _choose_image(self) -> None:
        """Choose the selected image, else the topmost one."""
        images = [layer for layer in self.viewer.layers if isinstance(layer, Image)]
        active = self.viewer.layers.selection.active
        if self.image_box.value is None and images:
            self.image_box.value = active if isinstance(active, Image) else images[-1]

    def event(self, event: QEvent) -> bool:
        """Have sessions give their memory back when the dock is closed; they and layers stay.

        napari's x button takes the dock's parent; its other button hides the dock, with no loss.
        """
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self._follow(None)
                self.improve_panel.close_run()
                rest_unwatched(self.viewer)
            else:
                self.reset_choices()
                self._choose_image()
                self._on_image(self.image_box.value)
        return bool(super().event(event))

    def _on_image(self, image: Image | None) -> None:
        if image is None:
            self._follow(None)
            return
        if self.session is not None and self.session.image is image:
            return
        try:
            self._follow(session_of(image) or self._begin(image))
        except Exception as error:
            show_error(str(error))
            self._follow(None)

    def _begin(self, image: Image) -> AnnotationSession:
        run = self.run_row
        name = self.model_box.model_name
        return attach(self.viewer, image, name, device=run.device, precision=run.precision)

    def _follow(self, session: AnnotationSession | None) -> None:
        """Show this session from now on."""
        if self.session is not None:
            self.session.controller.changed.disconnect(self._refresh)
            self.session.controller.closed.disconnect(self._on_closed)
        self.session = session
        self.object_panel.session = session
        self.improve_panel.follow(session)
        if session is not None:
            session.controller.activate()
            session.controller.changed.connect(self._refresh)
            session.controller.closed.connect(self._on_closed)
            self._show_choice(session)
        self._refresh()

    def _on_closed(self, restart: bool) -> None:
        """The session has ended: begin the next one, or wait until the image is chosen again."""
        self._follow(None)
        if restart:
            QTimer.singleShot(0, lambda: self._on_image(self.image_box.value))
        else:
            self.image_box.value = None

    def _on_model(self) -> None:
        if self.session is not None:
            run = self.run_row
            name = self.model_box.model_name
            self.session.set_model(name, device=run.device, precision=run.precision)

    def _show_choice(self, session: AnnotationSession) -> None:
        choice = session.controller.choice
        if self.model_box.model_name != choice.name:
            self.model_box.show_model(choice.name)
        self.run_row.show_choice(choice)
        self.run_row.setEnabled(not session.controller.engine.at_hand.is_given(choice.name))

    def _on_auto_mask(self) -> None:
        if self.session is not None:
            self.session.overwrite = self.object_panel.overwrite.isChecked()
            self.session.auto_mask(**self.whole_panel.form.values)

    def _on_stop(self) -> None:
        if self.session is not None:
            self.session.stop()

    def _refresh(self) -> None:
        session = self.session
        self.object_panel.refresh()
        if session is None:
            self.whole_panel.show_status("Open an image to begin", busy=False, can_start=False)
            return
        self._show_choice(session)
        self._show_running(session)
        self.improve_panel.refresh()
        state = session.controller.session
        self.whole_panel.show_status(state.status, busy=state.is_busy, can_start=True)
        model = session.controller.engine.at_hand.model
        if model is not None:
            self.whole_panel.show_model(model)

    def _show_running(self, session: AnnotationSession) -> None:
        running = session.running
        if running == self.run_row.running:
            return
        self.run_row.show_running(running)
        model = session.controller.engine.at_hand.model
        if model is not None:
            from ..inference.runtime import devices, precisions_for  # torch is there with the model

            self.run_row.offer(devices(), precisions_for(model.device))


def _import_torch() -> None:
    """Have torch imported while the person looks at the image."""
    import torch  # noqa: F401
