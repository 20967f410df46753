"""Improve the model on a person's own labels: what from, how, how far it is, what came of it."""

from __future__ import annotations

import weakref
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..improving.improvement import Improvement, Phase
from ..improving.ways import Machine, Way, settings_for
from ..viewer.annotated import LayerPair, job_for
from .attach import AnnotationSession, session_of
from .course_view import CourseView, small_print
from .section import Section
from .source_list import Source, SourceList

TICK_MS = 200
MOST_STEPS = 100_000


class ImprovePanel(Section):
    """Shows an `Improvement` and passes on what is pressed.

    ``session`` is the dock's; ``model_made`` carries the path of a new model.
    """

    model_made = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__("Improve on my labels")
        self.viewer = viewer
        self.session: AnnotationSession | None = None
        self.improvement = Improvement()
        self._machine: Machine | None = None
        self._improved: weakref.ref[AnnotationSession] | None = None
        self._make_controls()
        self._make_display()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._on_tick)
        close = self.improvement.close  # a window that goes takes the panel without closing it
        self.destroyed.connect(lambda *_: close())
        self._show()

    def _make_controls(self) -> None:
        self.sources = SourceList(self.viewer)
        self.folder = QPushButton("Add a folder…")
        self.folder.setToolTip("A folder of labelled images: images/ and labels/ of the same names")
        self.folder.clicked.connect(self._on_folder)
        self.way = QComboBox()
        self.way.setToolTip("How much of the model learns")
        self.way.currentIndexChanged.connect(self._on_way)
        self.way_help = small_print()
        self.steps = QSpinBox()
        self.steps.setRange(1, MOST_STEPS)
        self.steps.setToolTip("Updates of the weights; the best model on the way is taken")
        self.all_labelled = QCheckBox("Every object is labelled")
        self.all_labelled.setToolTip(
            "Tick it if nothing was left out in these images: then the model also learns to find "
            "objects in whole images"
        )
        self.press = QPushButton("Improve")
        self.press.clicked.connect(self._on_press)

    def _make_display(self) -> None:
        self.course = CourseView()
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.switch = QPushButton()
        self.switch.clicked.connect(self._on_switch)

    def _lay_out(self) -> None:
        self.setup = QWidget()
        form = QFormLayout(self.setup)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.addRow(self.sources)
        form.addRow(self.folder)
        form.addRow("Learns", self.way)
        form.addRow(self.way_help)
        form.addRow("Steps", self.steps)
        form.addRow(self.all_labelled)
        layout = QVBoxLayout(self.body)
        layout.setContentsMargins(8, 2, 8, 8)
        layout.setSpacing(4)
        for part in (self.message, self.switch, self.setup, self.press, self.course):
            layout.addWidget(part)

    def follow(self, session: AnnotationSession | None) -> None:
        """Improve this session's model from now on, by default on its labels."""
        self.session = session
        self.sources.default = None if session is None else LayerPair(session.image, session.labels)
        self.sources.refresh()
        self.refresh()

    def refresh(self) -> None:
        """Offer what suits the model, and show what goes on."""
        machine = None if self.session is None else _machine_of(self.session)
        if machine is not None and machine != self._machine:
            self._machine = machine
            self._offer(machine)
        self._show()

    def close_run(self) -> None:
        """End a training at once, and leave nothing running."""
        self._timer.stop()
        self.improvement.close()
        self.sources.forget_layers()
        self._show()

    def _offer(self, machine: Machine) -> None:
        self.way.clear()
        for way in machine.ways:
            self.way.addItem(way.label, way)
        self.way.setCurrentIndex(machine.ways.index(machine.default_way))
        self.steps.setValue(machine.default_steps)
        self.all_labelled.setVisible(not machine.is_vit)

    def _on_way(self) -> None:
        way = self.way.currentData()
        self.way_help.setText(way.help if isinstance(way, Way) else "")

    def _on_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of labelled images")
        if folder:
            self.sources.add_folder(Path(folder))

    def _on_press(self) -> None:
        if self.improvement.is_running:
            self.improvement.stop()
            self._after_news()
            return
        try:
            self._start()
        except (ValueError, OSError, MemoryError) as error:
            self.improvement.message = str(error)
        self._show()

    def _start(self) -> None:
        """Begin with what is ticked, as it is now."""
        session, machine = self.session, self._machine
        if session is None or machine is None:
            raise ValueError("Expected an image to work on, none is chosen; open one.")
        choice = session.controller.choice
        if session.controller.engine.at_hand.is_given(choice.name):
            raise ValueError("A script has handed this model over; choose one in the dock.")
        sources = self.sources.sources
        settings = settings_for(
            machine,
            self.way.currentData(),
            self.steps.value(),
            all_labelled=self.all_labelled.isChecked(),
            device=choice.device,
        )
        job = job_for(choice.name, sources, self.viewer.dims, settings)
        self.improvement.start(job, subject_of(sources))
        self._improved = weakref.ref(session)
        self._timer.start()
        self.grew.emit()

    def _on_tick(self) -> None:
        self.improvement.tick()
        self._after_news()

    def _after_news(self) -> None:
        """Show what has come, and use a model that is better."""
        if not self.improvement.is_running and self._timer.isActive():
            self._timer.stop()
            outcome = self.improvement.outcome
            if outcome is not None and outcome.new is not None:
                self.model_made.emit(outcome.new)
                session = self._session_improved()
                if session is not None and session.controller.model == outcome.old:
                    session.set_model(outcome.new)
            self.grew.emit()
        self._show()

    def _session_improved(self) -> AnnotationSession | None:
        """The session that was improved, as long as there is one."""
        session = None if self._improved is None else self._improved()
        return session if session is not None and session_of(session.image) is session else None

    def _on_switch(self) -> None:
        session, outcome = self._session_improved(), self.improvement.outcome
        if session is not None and outcome is not None and outcome.new is not None:
            is_new = session.controller.model == outcome.new
            session.set_model(outcome.old if is_new else outcome.new)
        self._show()

    def _show(self) -> None:
        """Show how far the improvement is, and what can be done about it."""
        now = self.improvement
        is_stopping = now.phase is Phase.STOPPING
        if now.is_running:
            self.press.setText("End at once, keep nothing" if is_stopping else "Stop")
            self.press.setToolTip("The best model so far is judged, and used if it is better")
        else:
            self.press.setText("Improve")
            self.press.setToolTip("Train in the background; annotation goes on")
        self.setup.setVisible(not now.is_running)
        self.press.setEnabled(now.is_running or self.session is not None)
        self.course.setVisible(now.is_running or bool(now.course.losses))
        self.course.show_course(now.course, now.is_running, is_stopping)
        self.note(self.course.percent if now.is_running else "")
        self._show_outcome()

    def _show_outcome(self) -> None:
        outcome, session = self.improvement.outcome, self._session_improved()
        words = self.improvement.message
        can_switch = session is not None and outcome is not None and outcome.new is not None
        self.switch.setVisible(can_switch)
        if outcome is not None and outcome.new is not None:
            is_new = session is not None and session.controller.model == outcome.new
            new, old = Path(outcome.new).stem, Path(outcome.old).stem
            self.switch.setText(f"Back to {old}" if is_new else f"Use {new}")
            words += f" {new} is {'in use' if is_new else 'in the list of models'}."
        self.message.setText(words)
        self.message.setVisible(bool(words))


def subject_of(sources: list[Source]) -> str:
    """What is learned from, in a word: a name for the new model."""
    first = sources[0]
    return first.name if isinstance(first, Path) else str(first.image.name)


def _machine_of(session: AnnotationSession) -> Machine:
    """What decides the defaults; of a model that is not loaded the name tells."""
    model = session.controller.engine.at_hand.model
    if model is None:
        return Machine(is_vit=not Path(session.controller.model).name.startswith("nano"))
    return Machine(is_vit=not model.encodes_any_size, on_gpu=model.device.type != "cpu")
