"""A session on one image layer: layer events in, what a person does, and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.notifications import show_warning
from numpy.typing import NDArray
from psygnal import Signal

from ..config import ModelChoice
from ..core.dispatch import Dispatcher
from ..core.engine import Engine, View
from ..core.layer_prompts import prompt_of
from ..core.objects import Refined
from ..core.session import Session
from ..geometry.planes import PlaneRef
from .ages import PromptAges
from .keys import bind_keys, unbind_keys
from .layers import (
    FOREGROUND,
    SYNCED,
    SessionLayers,
    copy_transform,
    image_shape,
    make_layers,
)
from .painter import Painter
from .snapshots import plane_shown, snapshot_of, view_of
from .writing import check_writable

DEBOUNCE_MS = 250


class Controller:
    """Binds the layers of one image to a `Session`.

    ``changed`` is emitted when status, candidates or settings change; ``closed`` with True if the
    image has taken another shape, so that a new session should begin. ``overwrite`` lets new
    objects take pixels of old ones.
    """

    changed = Signal()
    closed = Signal(bool)

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        dispatcher: Dispatcher,
        engine: Engine,
        choice: ModelChoice,
    ) -> None:
        self.viewer = viewer
        self.layers: SessionLayers = make_layers(viewer, image)
        self.engine = engine
        self.dispatcher = dispatcher
        painter = Painter(self.layers, lambda: self.plane, self._on_news)
        self.session = Session(engine, dispatcher, painter)
        self._painter = painter
        self.choice = choice
        self.overwrite = False
        self._data_version = 0
        self._refining: tuple[PlaneRef, int | None, NDArray[np.bool_]] | None = None
        self._ages = PromptAges(self.points, self.shapes)
        self._is_muted = False
        self._connections = list(self._wiring())
        for emitter, callback in self._connections:
            emitter.connect(callback)
        viewer.layers.selection.active = self.points
        self.points.mode = "add"
        self.activate()

    def _wiring(self) -> Iterator[tuple[Any, Callable[..., None]]]:
        """Every event listened to, with its callback."""
        yield self.points.events.data, self._on_prompts
        yield self.points.events.features, self._on_features
        yield self.shapes.events.data, self._on_prompts
        yield self.image.events.data, self._on_image
        yield self.image.events.contrast_limits, self._on_contrast
        dims = self.viewer.dims.events
        for emitter in (dims.current_step, dims.order, dims.ndisplay):
            yield emitter, self._on_view
        yield self.viewer.layers.events.removed, self._on_removed
        for name in SYNCED:
            yield getattr(self.image.events, name), self._on_transform

    def activate(self) -> None:
        """Somebody looks at this session: its image is encoded, and the keys act on it.

        They do so unless another session's layer is active.
        """
        bind_keys(self.viewer, self)
        self.session.wake()
        self._on_view()

    def rest(self) -> None:
        """Nobody looks: give the model's memory back once prompts are answered; layers stay."""
        self.session.rest()

    def owns(self, layer: Layer) -> bool:
        """Whether a layer is this session's, or its image."""
        return any(layer is one for one in (self.image, *self.layers.own))

    @property
    def image(self) -> Image:
        """The image layer."""
        return self.layers.image

    @property
    def points(self) -> Points:
        """Clicks."""
        return self.layers.points

    @property
    def shapes(self) -> Shapes:
        """Boxes, outlines and scribbles."""
        return self.layers.shapes

    @property
    def labels(self) -> Labels:
        """Committed objects."""
        return self.layers.labels

    @property
    def plane(self) -> PlaneRef | None:
        """The displayed plane."""
        return plane_shown(self.image, self.viewer.dims)

    @property
    def model(self) -> str:
        """Name or path of the chosen model."""
        return self.choice.name

    @property
    def is_watched(self) -> bool:
        """Whether somebody listens to the session's news, as a dock does."""
        return len(self.changed) > 0

    # From layers to the session

    def _view(self) -> View | None:
        plane = self.plane
        if plane is None:
            return None
        return view_of(self.image, plane, self.choice, self._data_version)

    def _send_prompt(self) -> None:
        """Tell the session what the layers say of the current object."""
        view = self._view()
        if view is None:
            return
        refined = self._refining
        if refined is not None and refined[0] != view.plane:
            refined = None
        mask = None if refined is None else refined[2]
        drawn = self._ages.finished_shapes
        snapshot = snapshot_of(self.points, self.shapes, view.plane, mask, drawn)
        prompt = prompt_of(snapshot, view.size_hw)
        replaced = None
        if refined is not None and refined[1] is not None:
            replaced = Refined(refined[1], refined[2])
        self.session.set_prompt(view, prompt, replaced)

    def _on_prompts(self, event: Any) -> None:
        """A prompt was added, moved or removed; what is still being drawn is no prompt yet."""
        if self._ages.note(event) and not self._is_muted:
            self._send_prompt()

    def _on_features(self, event: Any = None) -> None:
        """Points changed sign; while a point is being added the two lengths differ."""
        if not self._is_muted and len(self.points.data) == len(self.points.features):
            with self._muted():
                self.points.refresh_colors()
            self._send_prompt()

    def _on_view(self, event: Any = None) -> None:
        """What the encoder would see may have changed."""
        view = self._view()
        if view is not None and not self._is_muted:
            self.session.prepare(view)
            self._send_prompt()

    def _on_image(self, event: Any = None) -> None:
        self._data_version += 1
        if image_shape(self.image) != self.labels.data.shape:
            show_warning(
                f"{self.image.name!r} has taken another shape: its objects stay in "
                f"{self.labels.name!r}, and a new session needs layers of the new shape."
            )
            self.close(restart=True)
            return
        self._on_view()

    def _on_contrast(self, event: Any = None) -> None:
        if not self.image.rgb:
            self.dispatcher.later(DEBOUNCE_MS, self._on_view)

    def _on_transform(self, event: Any = None) -> None:
        for layer in self.layers.own:
            copy_transform(self.image, layer)
        self._painter.show_live(self.session.current)

    def _on_news(self) -> None:
        """The session has news; a model that could not be loaded is given up for the last one."""
        at_hand = self.engine.at_hand
        if at_hand.failed == self.choice and at_hand.used not in (None, self.choice):
            at_hand.failed = None
            self.set_model(at_hand.used)
        self.changed.emit()

    def _on_removed(self, event: Any) -> None:
        if event.value is self.image or any(event.value is layer for layer in self.layers.own):
            self.close()

    @contextmanager
    def _muted(self) -> Iterator[None]:
        before, self._is_muted = self._is_muted, True
        try:
            yield
        finally:
            self._is_muted = before

    # What a person does

    @property
    def foreground(self) -> bool:
        """Whether the next point is foreground."""
        return bool(self.points.feature_defaults[FOREGROUND].iloc[0])

    @foreground.setter
    def foreground(self, value: bool) -> None:
        with self._muted():
            self.points.feature_defaults = {FOREGROUND: [bool(value)]}
        self.changed.emit()

    def toggle_foreground(self) -> None:
        """From foreground to background points, and back."""
        self.foreground = not self.foreground

    def remove_last_prompt(self) -> bool:
        """Take back the newest point or shape of the displayed plane; False if there is none.

        A shape that is still being drawn is the newest.
        """
        finished = self._ages.finished_shapes
        with self._muted():
            was_drawing = self._ages.end_drawing()
        if was_drawing and self._ages.finished_shapes == finished:
            return True  # it had too few corners for napari to keep it
        here = self._prompts_here(self.plane)
        newest = [(*self._ages.newest(layer, indices), layer) for layer, indices in here]
        age, index, layer = max(newest, key=lambda prompt: prompt[0])
        if age < 0:
            return False
        self._remove(layer, {index})
        return True

    def _prompts_here(self, plane: PlaneRef | None) -> list[tuple[Points | Shapes, list[int]]]:
        """The layers of prompts, with the indices of those that lie in a plane."""
        if plane is None:
            return [(self.points, []), (self.shapes, [])]
        points = np.flatnonzero(plane.holds(np.asarray(self.points.data))).tolist()
        shapes = [i for i, s in enumerate(self.shapes.data) if plane.holds(np.asarray(s)).all()]
        return [(self.points, points), (self.shapes, shapes)]

    def _remove(self, layer: Points | Shapes, indices: set[int]) -> None:
        """Remove prompts; napari makes a selected point's sign the next one's, which it is not."""
        foreground = self.foreground
        layer.selected_data = indices
        layer.remove_selected()
        if self.foreground != foreground:
            self.foreground = foreground

    def next_candidate(self) -> None:
        """Show the next best candidate."""
        self.session.next_candidate()

    def commit(self) -> bool:
        """Write the current object into the labels, now or as soon as it is answered.

        The next point is foreground again: an object begins with what belongs to it. A labels
        layer that cannot be written to is told, and the prompts stay.
        """
        plane = self._plane_of_prompts()
        try:
            check_writable(self.labels, image_shape(self.image))
        except ValueError as error:
            self.session.note(error)
            return False
        committed = self.session.commit(self.overwrite)
        if committed:
            self._clear_prompts(plane)
        return committed

    def cancel(self) -> None:
        """Clear the current object without committing it; the next point is foreground."""
        plane = self._plane_of_prompts()
        self.session.cancel_object()
        self._clear_prompts(plane)

    def _plane_of_prompts(self) -> PlaneRef | None:
        """The displayed plane; where there is none, as in 3-D, the current object's."""
        view = self.session.current.view
        return self.plane or (None if view is None else view.plane)

    def refine(self, label: int | None = None) -> None:
        """Make a label the mask prompt, to improve it.

        ``label`` defaults to the selected one. It is taken from the active labels layer if that
        has the image's shape, else from the committed objects. A committed object is replaced
        under the same id by the next commit; from another layer it becomes a new object.

        Raises:
            ValueError: the label has no pixels in the displayed plane.
        """
        plane, source = self.plane, self._labels_to_refine()
        wanted = int(source.selected_label if label is None else label)
        mask = None if plane is None else plane.pixels(source.data) == wanted
        if plane is None or mask is None or wanted == 0 or not mask.any():
            raise ValueError(
                f"Expected a label with pixels in the displayed plane, got {wanted}; pick one "
                f"in {source.name!r} first."
            )
        self.cancel()
        self._refining = (plane, wanted if source is self.labels else None, mask)
        self._send_prompt()

    def _labels_to_refine(self) -> Labels:
        active, own = self.viewer.layers.selection.active, self.labels
        if not isinstance(active, Labels) or active is self.layers.mask or active.multiscale:
            return own
        return active if active.data.shape == own.data.shape else own

    def auto_mask(self, **settings: Any) -> None:
        """Segment the whole displayed plane into the labels."""
        view = self._view()
        if view is None:
            show_warning("Switch to a 2-D view of the image before segmenting everything.")
            return
        self.session.auto_mask(view, settings, self.overwrite)

    def stop(self) -> None:
        """Cancel what the worker does and what waits for it."""
        self.session.stop_work()

    def set_model(self, choice: ModelChoice) -> None:
        """Use another model from now on; committed labels stay."""
        if choice != self.choice:
            self.choice = choice
            self._on_view()
            self.changed.emit()

    def _clear_prompts(self, plane: PlaneRef | None) -> None:
        """Remove the prompts that lie in a plane."""
        self._refining = None
        with self._muted():
            self._ages.end_drawing()
            for layer, indices in self._prompts_here(plane):
                if indices:
                    self._remove(layer, set(indices))
        self.foreground = True

    def close(self, *, restart: bool = False) -> None:
        """Let go of the viewer and of memory; layers stay. Closing twice is nothing."""
        if not self._connections:
            return
        for emitter, callback in self._connections:
            emitter.disconnect(callback)
        self._connections = []
        unbind_keys(self.viewer, self)
        self.session.close()
        self.closed.emit(restart)
