"""`attach`: a session on an image layer, for scripts and for the dock."""

from __future__ import annotations

import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes

from ..config import ModelChoice
from ..core.dispatch import Dispatcher, InlineDispatcher
from ..core.engine import Engine
from ..viewer.controller import Controller

if TYPE_CHECKING:
    from ..inference.model import Model

DEFAULT_MODEL = ModelChoice().name

_SESSIONS: weakref.WeakKeyDictionary[Image, weakref.ref[AnnotationSession]]
_SESSIONS = weakref.WeakKeyDictionary()


class AnnotationSession:
    """Annotation of one image layer: clicks, boxes and labels become masks.

    Methods are called on the GUI thread and return at once; `wait` waits for what they started.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller

    @property
    def points(self) -> Points:
        """Points layer; a new point is foreground unless `foreground` is False."""
        return self.controller.points

    @property
    def shapes(self) -> Shapes:
        """Shapes layer: rectangles are boxes, outlines are masks, paths are scribbles."""
        return self.controller.shapes

    @property
    def mask(self) -> Labels:
        """Live mask of the current object, in the displayed plane; (H, W) for a 2-D image."""
        return self.controller.layers.mask

    @property
    def labels(self) -> Labels:
        """Committed objects, int32, the image's full spatial shape."""
        return self.controller.labels

    @property
    def image(self) -> Image:
        """The image layer."""
        return self.controller.image

    @property
    def encode_count(self) -> int:
        """How often the image encoder has run for prompts."""
        return self.controller.engine.encode_count

    @property
    def foreground(self) -> bool:
        """Whether the next point is foreground."""
        return self.controller.foreground

    @foreground.setter
    def foreground(self, value: bool) -> None:
        self.controller.foreground = value

    @property
    def overwrite(self) -> bool:
        """Whether new objects take pixels of old ones; False at first."""
        return self.controller.overwrite

    @overwrite.setter
    def overwrite(self, value: bool) -> None:
        self.controller.overwrite = value

    @property
    def predicted_iou(self) -> float | None:
        """The model's own rating of the live mask."""
        return self.controller.session.current.iou

    def commit(self) -> bool:
        """Write the current object under a fresh id, also if its answer is still to come.

        Returns False if there is no current object.
        """
        return self.controller.commit()

    def cancel(self) -> None:
        """Clear the current object without committing it."""
        self.controller.cancel()

    def next_candidate(self) -> None:
        """Show the next best of the current object's candidates."""
        self.controller.next_candidate()

    def remove_last_prompt(self) -> bool:
        """Take the newest point or shape back; False if there is none."""
        return self.controller.remove_last_prompt()

    def refine(self, label: int | None = None) -> None:
        """Take a committed label (by default the selected one) as mask prompt, to improve it."""
        self.controller.refine(label)

    def auto_mask(self, **settings: Any) -> None:
        """Segment the displayed plane into `labels`; fields of `AutoMaskSettings` by name."""
        self.controller.auto_mask(**settings)

    def set_model(
        self, model: str | Model, *, device: str | None = None, precision: str | None = None
    ) -> None:
        """Use another model from now on; committed labels stay.

        Args:
            model: name, path of a checkpoint, or a loaded `Model`, which runs as it was loaded.
            device: as in `load_model`; what the session has if it is not given.
            precision: likewise.

        Raises:
            ValueError: a device or precision for a loaded `Model`.
        """
        controller = self.controller
        choice = _choice(controller.engine, model, controller.choice, device, precision)
        controller.set_model(choice)

    @property
    def running(self) -> str | None:
        """Device, precision and why, of the model at hand; None before one is loaded."""
        return self.controller.engine.running

    def rest(self) -> None:
        """Give the model's memory back once all prompts are answered; the next one loads it."""
        self.controller.rest()

    def stop(self) -> None:
        """Cancel running and waiting work."""
        self.controller.stop()

    def wait(self, timeout: float | None = None) -> None:
        """Return when nothing is queued, running or unpainted.

        Lets Qt events run where an application does, and runs the queue where none does.

        Raises:
            TimeoutError: after ``timeout`` seconds.
            Exception: the first error of a job since the last `wait`.
        """
        session, dispatcher = self.controller.session, self.controller.dispatcher
        deadline = None if timeout is None else time.monotonic() + timeout
        while session.is_busy or dispatcher.is_waiting:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"Still busy after {timeout} s: {session.status}.")
            dispatcher.process(deadline)
        error, session.first_error = session.first_error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the session and give its memory back; the layers stay."""
        self.controller.close()


def attach(
    viewer: ViewerModel,
    image_layer: Image | str,
    model: str | Model = DEFAULT_MODEL,
    *,
    device: str | None = None,
    precision: str | None = None,
) -> AnnotationSession:
    """Start, or find, the annotation session of an image layer.

    Args:
        viewer: a napari viewer, or a `ViewerModel` where no application runs.
        image_layer: an image layer of the viewer, or its name.
        model: name of a model, path of a checkpoint, or a loaded `Model`.
        device: as in `load_model`.
        precision: as in `load_model`.

    Returns:
        The session; for the same layer always the same one. Its model changes only if ``model``
        is given and not the default, its device and precision if they are given.

    Raises:
        ValueError: a layer that is no image, or is not in this viewer; a device or precision for
            a loaded model.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    image = _image_of(viewer, getattr(image_layer, "__wrapped__", image_layer))
    existing = session_of(image)
    if existing is not None:
        if existing.controller.viewer is not viewer:
            raise ValueError(
                f"Expected a layer of this viewer alone, {image.name!r} has a session in another "
                "viewer; close() that one first."
            )
        wanted = existing.controller.model if model == DEFAULT_MODEL else model
        existing.set_model(wanted, device=device, precision=precision)
        existing.controller.activate()
        return existing
    engine = Engine()
    choice = _choice(engine, model, ModelChoice(), device, precision)
    session = AnnotationSession(Controller(viewer, image, make_dispatcher(), engine, choice))
    _remember(image, session)
    return session


def _remember(image: Image, session: AnnotationSession) -> None:
    """Make the layer keep its session alive, so that both go together."""

    def keep(_event: object) -> AnnotationSession:
        return session

    image.events.name.connect(keep)
    _SESSIONS[image] = weakref.ref(session)
    reference = weakref.ref(image)

    def forget(_restart: bool) -> None:
        layer = reference()
        if layer is not None:
            _SESSIONS.pop(layer, None)
            layer.events.name.disconnect(keep)

    session.controller.closed.connect(forget)


def session_of(image: Image) -> AnnotationSession | None:
    """The session of an image layer, if it has one."""
    reference = _SESSIONS.get(getattr(image, "__wrapped__", image))
    return None if reference is None else reference()


def rest_unwatched(viewer: ViewerModel) -> None:
    """Have the sessions of a viewer that no dock shows give their memory back."""
    sessions = [session_of(layer) for layer in viewer.layers if isinstance(layer, Image)]
    for session in sessions:
        if session is not None and not session.controller.is_watched:
            session.rest()


def make_dispatcher() -> Dispatcher:
    """A worker thread where a Qt application runs, else a queue that `wait` works off."""
    if "qtpy" in sys.modules:
        from qtpy.QtWidgets import QApplication

        if QApplication.instance() is not None:
            from .worker import QtDispatcher

            return QtDispatcher()
    return InlineDispatcher()


def _image_of(viewer: ViewerModel, layer: Image | str) -> Image:
    if isinstance(layer, str):
        names = [one.name for one in viewer.layers if isinstance(one, Image)]
        if layer not in names:
            raise ValueError(f"Expected an image layer out of {names}, got {layer!r}.")
        layer = viewer.layers[layer]
    if not isinstance(layer, Image):
        raise ValueError(f"Expected an image layer, got {type(layer).__name__}.")
    if not any(one is layer for one in viewer.layers):
        raise ValueError(f"Expected a layer of this viewer, {layer.name!r} is not in it; add it.")
    return layer


def _choice(
    engine: Engine,
    model: str | Model,
    now: ModelChoice,
    device: str | None,
    precision: str | None,
) -> ModelChoice:
    """What is asked for; ``now`` says what is not."""
    if isinstance(model, str):
        return ModelChoice(model, device or now.device, precision or now.precision)
    if device or precision:
        raise ValueError(
            f"Expected a model's name for device={device!r} and precision={precision!r}, got "
            f"{model.name!r}, already loaded; give them to load_model."
        )
    return ModelChoice(engine.at_hand.offer(model))
