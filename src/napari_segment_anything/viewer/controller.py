"""One image layer's interactive segmentation: layers in, requests out, answers painted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..config import AutoMaskSettings
from ..core.engine import Engine
from ..core.layer_prompts import Marks, PlanePrompt, RefineMark, prompts_by_plane
from ..core.requests import (
    Answer,
    Cancelled,
    ModelRef,
    ModelUnavailable,
    Report,
    Request,
    View,
    name_of,
)
from ..core.session import Outcome, Session
from ..core.state import SessionState
from .bindings import Bindings
from .dispatch import Dispatcher
from .layers import LayerSet
from .paint import apply_edit, record_scores, show_mask
from .prompt_layers import POSITIVE, flip_selected, point_marks, set_defaults, shape_marks
from .view import displayed_plane, full_data, spatial_shape, unwrapped

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Points, Shapes

PAUSE_S = 0.15
"""While a slider is dragged, encoding waits until it rests this long."""


class Notify(Protocol):
    """Shows a sentence to the user; ``error`` if something failed."""

    def __call__(self, message: str, *, error: bool) -> None:
        """Show it."""
        ...


class LayerSession:
    """Points, shapes and labels around one image layer become masks, live.

    Made by `attach`. Every method belongs to the GUI thread and returns at once; `wait` returns
    when everything asked for is painted. ``state`` tells a view what to show.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        model: ModelRef,
        *,
        engine: Engine,
        dispatcher: Dispatcher,
        notify: Notify,
    ) -> None:
        self.viewer = viewer
        self.image = image
        self.state = SessionState(model=name_of(model))
        self.encode_count = 0
        self._engine = engine
        self._dispatcher = dispatcher
        self._notify = notify
        self._source = object()
        self._refine: RefineMark | None = None
        self._drawn: list[str] = []
        self._errors: list[Exception] = []
        self._quiet = False
        self._layers = LayerSet(viewer, image, self._layer_taken, self._layer_left)
        self._session = Session(model, self._layers)
        self._bindings = Bindings(self)
        dispatcher.attend(self)
        self._layers.show_plane(displayed_plane(image, viewer.dims))
        for role in ("labels", "mask", "shapes", "points"):
            getattr(self._layers, role)
        self._show_view()
        self._encode_shown()

    # Layers ----------------------------------------------------------------------------------

    @property
    def points(self) -> Points:
        """Points layer: foreground and background clicks."""
        return self._layers.points

    @property
    def shapes(self) -> Shapes:
        """Shapes layer: boxes, outlines, scribbles."""
        return self._layers.shapes

    @property
    def mask(self) -> Labels:
        """Labels layer with the live mask of the object being marked; 1 is object."""
        return self._layers.mask

    @property
    def labels(self) -> Labels:
        """Labels layer with the committed objects, int32, the image's shape and transform."""
        return self._layers.labels

    def adopt(self, role: str, layer: Any) -> None:
        """Let a layer of the viewer be the "points", "shapes" or "labels" of this session.

        Raises:
            ValueError: its shape or kind does not fit; the message says what would.
        """
        layer = unwrapped(layer)
        if role not in ("points", "shapes", "labels"):
            raise ValueError(f"Expected 'points', 'shapes' or 'labels', got {role!r}.")
        if self._layers.peek(role) is not layer:
            self._layers.adopt(role, layer)
            self.marks_changed()

    def owns(self, layer: Any) -> bool:
        """True for the image and the layers of this session."""
        return layer in self._layers

    # What a person does ----------------------------------------------------------------------

    def commit(self) -> None:
        """Make an object of what is marked, pending or not, and begin the next one."""
        prompts = self._prompts()
        if not prompts:
            return
        outcomes = self._session.commit(prompts)
        self._clear_marks()
        for outcome in outcomes:
            self._apply(outcome)
        self._changed()

    def cancel(self) -> None:
        """Forget what is marked, without making an object."""
        self._clear_marks()
        self._session.request(None)
        self._changed()

    def next_candidate(self, by: int = 1) -> None:
        """Show the candidate with the next lower predicted IoU; after the last, the best one."""
        self._session.step_candidate(by)
        self._changed()

    def remove_last_prompt(self) -> None:
        """Take back the point, shape or label marked last."""
        while self._drawn:
            role = self._drawn.pop()
            if role == "refine" and self._refine is not None:
                self._refine = None
                self.marks_changed()
                return
            layer = self._layers.peek(role)
            if layer is not None and len(layer.data) > self._drawn.count(role):
                layer.selected_data = {len(layer.data) - 1}
                layer.remove_selected()
                return

    def toggle_positive(self) -> None:
        """Switch between foreground and background; selected points are switched, too."""
        points = self._layers.peek("points")
        if points is not None and points.mode == "select" and points.selected_data:
            flip_selected(points)
        self.set_positive(not self.state.positive)

    def set_positive(self, positive: bool) -> None:
        """Make the next points and scribbles foreground or background."""
        self.state.positive = positive
        self._set_defaults()

    def use_points(self) -> None:
        """Make clicks on the canvas add points."""
        self.viewer.layers.selection.active = self.points
        self.points.mode = "add"

    def use_shapes(self, kind: str) -> None:
        """Make drags on the canvas draw: rectangle, ellipse, polygon or path."""
        self.viewer.layers.selection.active = self.shapes
        self.shapes.mode = f"add_{kind}"

    def set_overwrite(self, overwrite: bool) -> None:
        """Let new objects replace existing ones where they overlap."""
        self._session.overwrite = self.state.overwrite = overwrite

    def refine(self, label: int | None = None, layer: Any = None) -> None:
        """Mark an existing label: it becomes a mask prompt.

        By default the selected label of the committed objects; the commit then replaces it under
        its id. A label of another labels layer becomes a new object.

        Raises:
            ValueError: the label is not in the displayed plane.
        """
        source: Labels = self.labels if layer is None else unwrapped(layer)
        chosen = int(source.selected_label if label is None else label)
        plane = self._layers.plane
        if plane is None:
            raise ValueError("Expected a plane of the image in 2-D view; switch to 2-D first.")
        if source.multiscale or tuple(source.data.shape) != spatial_shape(self.image):
            raise ValueError(
                f"Expected labels of the image's shape {spatial_shape(self.image)}, got "
                f"{source.name!r}; choose labels of this image."
            )
        mask = plane.cut(source.data) == chosen
        if chosen == 0 or not mask.any():
            raise ValueError(
                f"Expected a label in the displayed plane, got {chosen}, which has no pixel here; "
                "pick one with the labels layer's colour picker."
            )
        self._refine = RefineMark(plane, chosen, mask, replaces=source is self.labels)
        self._drawn.append("refine")
        self.marks_changed()

    def auto_mask(self, *, overwrite: bool | None = None, **settings: Any) -> None:
        """Segment everything in the displayed plane into `labels`, in one undo step.

        ``settings`` are fields of `AutoMaskSettings`; the rest comes from the model's card.

        Raises:
            ValueError: an unknown setting, or no plane is displayed.
        """
        unknown = sorted(settings.keys() - set(AutoMaskSettings.names()))
        if unknown:
            raise ValueError(
                f"Expected settings out of {', '.join(AutoMaskSettings.names())}, "
                f"got {', '.join(unknown)}."
            )
        if self._layers.plane is None:
            raise ValueError("Expected a plane of the image in 2-D view; switch to 2-D first.")
        before = self._session.overwrite
        self._session.overwrite = before if overwrite is None else overwrite
        self._session.auto_mask(settings)
        self._session.overwrite = before
        self._changed()

    def set_model(self, model: ModelRef) -> None:
        """Ask another model from now on; committed objects stay."""
        self.state.model = name_of(model)
        self._session.use_model(model)
        self._changed()

    def stop(self) -> None:
        """Stop what runs and drop what waits; marks and objects stay."""
        lost = self._session.stop()
        if lost:
            self._notify(f"Stopped; {lost} object(s) still waiting for a mask were dropped.", error=False)
        self._changed()

    def undo(self) -> None:
        """Undo the last change of the committed objects, by napari's history."""
        self.labels.undo()

    def redo(self) -> None:
        """Redo what was undone."""
        self.labels.redo()

    def wait(self, timeout: float | None = None) -> None:
        """Return when nothing is queued, running or unpainted.

        Raises:
            TimeoutError: not after ``timeout`` seconds.
            Exception: the first error of the work since the last `wait`.
        """
        self._dispatcher.wait(timeout)
        if self._errors:
            first, self._errors = self._errors[0], []
            raise first

    def close(self) -> None:
        """End the session: prompts and live mask go, committed objects stay."""
        self._end(remove=True)

    # What the layers and the viewer tell (called by Bindings) --------------------------------

    def dims_changed(self) -> None:
        """Another plane may be displayed."""
        plane = displayed_plane(self.image, self.viewer.dims)
        if plane == self._layers.plane:
            return
        self._layers.show_plane(plane)
        self._show_view()
        self.marks_changed()
        self._dispatcher.later(PAUSE_S, self._encode_shown)

    def image_changed(self) -> None:
        """The image's data was replaced."""
        self._source = object()
        self._layers.follow_shape()
        if self._refine is not None and self._refine.plane.shape != spatial_shape(self.image):
            self._refine = None
        self._layers.show_plane(displayed_plane(self.image, self.viewer.dims))
        self._show_view()
        self._set_defaults()
        self.marks_changed()
        self._dispatcher.later(PAUSE_S, self._encode_shown)

    def contrast_changed(self) -> None:
        """The contrast limits are being moved."""
        if self._limits() is not None:
            self._dispatcher.later(PAUSE_S, self._contrast_settled)

    def transform_changed(self) -> None:
        """The image was moved in the world."""
        self._layers.follow_transform()

    def drawn(self, role: str) -> None:
        """A mark was added to a layer."""
        if not self._quiet:
            self._drawn.append(role)

    def defaults_changed(self, layer: Any) -> None:
        """Selecting a mark makes its sign the next one's: show so."""
        if not self._quiet and POSITIVE in layer.feature_defaults:
            self.state.positive = bool(layer.feature_defaults[POSITIVE].iloc[0])
            self._set_defaults()

    def marks_changed(self) -> None:
        """Points, shapes or the chosen label changed."""
        if self._quiet:
            return
        if self._limits_stale():
            self._show_view()
        plane = self._layers.plane
        shown = [p for p in self._prompts() if p.plane == plane]
        self._session.request(shown[0] if shown else None)
        self._changed()

    def layer_removed(self, layer: Any) -> None:
        """A layer was taken out of the viewer."""
        if layer is self.image:
            self._end(remove=False)
            return
        if layer in self._layers:
            self._layers.forget(layer)
            self.marks_changed()

    # The desk of the dispatcher --------------------------------------------------------------

    def take(self) -> Request | None:
        """The next request to run."""
        request = self._session.next()
        if request is None:
            self._update_state()
        return request

    def work(self, request: Request, report: Report) -> Answer:
        """Do the work; the only method that another thread may call."""
        return self._engine.answer(request, report, self._count_encoding)

    def deliver(self, request: Request, result: Answer | Exception) -> None:
        """Take in an answer or an error, and paint."""
        if isinstance(result, Cancelled):
            self._session.abandon(request)
        elif isinstance(result, Exception):
            cause = result.__cause__ if isinstance(result, ModelUnavailable) else None
            self._errors.append(cause if isinstance(cause, Exception) else result)
            outcome = self._session.fail(request, result)
            self.state.model = name_of(self._session.model_ref)
            self._notify(outcome.message or str(result), error=True)
        else:
            self._apply(self._session.accept(request, result))
        self._changed()

    def put_back(self, request: Request) -> None:
        """Take back a request undone."""
        self._session.put_back(request)
        self._update_state()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far the running request is."""
        self.state.activity, self.state.total, self.state.done = what, total, done

    @property
    def is_busy(self) -> bool:
        """True if something is queued, running or unpainted."""
        return self._session.is_busy or self._dispatcher.is_pending

    # Inside ----------------------------------------------------------------------------------

    def _count_encoding(self) -> None:
        self.encode_count += 1

    def _limits(self) -> tuple[float, float] | None:
        """Contrast limits as far as an encoder sees them: colour of eight bits ignores them."""
        if self.image.rgb and full_data(self.image).dtype == np.uint8:
            return None
        low, high = self.image.contrast_limits
        return float(low), float(high)

    def _limits_stale(self) -> bool:
        view = self._session.view
        return view is not None and view.contrast_limits != self._limits()

    def _show_view(self) -> None:
        plane = self._layers.plane
        self.state.segmentable = plane is not None
        self._session.show(
            None
            if plane is None
            else View(full_data(self.image), plane, self._limits(), self._source)
        )
        self._set_defaults()
        self._changed()

    def _encode_shown(self) -> None:
        self._session.encode()
        self._changed()

    def _contrast_settled(self) -> None:
        self._show_view()
        self._encode_shown()

    def _marks(self) -> Marks:
        points, shapes = self._layers.peek("points"), self._layers.peek("shapes")
        return Marks(
            () if points is None else point_marks(self.image, points),
            () if shapes is None else shape_marks(self.image, shapes),
            self._refine,
        )

    def _prompts(self) -> list[PlanePrompt]:
        view = self._session.view
        marks = self._marks()
        self.state.prompts = len(marks.points) + len(marks.shapes) + (marks.refine is not None)
        return [] if view is None else prompts_by_plane(marks, self._layers.plane or view.plane)

    def _clear_marks(self) -> None:
        with self._silence():
            self._refine = None
            self._drawn.clear()
            points, shapes = self._layers.peek("points"), self._layers.peek("shapes")
            if points is not None and len(points.data):
                points.selected_data = set(range(len(points.data)))
                points.remove_selected()
            if shapes is not None and len(shapes.data):
                shapes.selected_data = set(range(len(shapes.data)))
                shapes.remove_selected()
            self.state.prompts = 0
        self._set_defaults()

    @contextmanager
    def _silence(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _set_defaults(self) -> None:
        plane = self._layers.plane
        axes = plane.axes if plane is not None and plane.ndim > 2 else None
        with self._silence():
            for role in ("points", "shapes"):
                layer = self._layers.peek(role)
                if layer is not None:
                    set_defaults(layer, positive=self.state.positive, axes=axes)

    def _apply(self, outcome: Outcome) -> None:
        if outcome.message:
            self._notify(outcome.message, error=False)
        if outcome.edit is not None:
            apply_edit(self.labels, outcome.edit)
            record_scores(self.labels, outcome.edit.objects)

    def _changed(self) -> None:
        self._paint_live()
        self._update_state()
        self._dispatcher.wake()

    def _paint_live(self) -> None:
        plane, live = self._layers.plane, self._session.live
        if plane is None or (live is None and self._layers.peek("mask") is None):
            return
        mask = None
        if live is not None and live.prompt.plane == plane:
            mask = live.prediction.masks[live.candidate(self._session.rank)]
        show_mask(self._layers.mask, plane, mask)

    def _update_state(self) -> None:
        state, session = self.state, self._session
        live = session.live
        state.candidates = 0 if live is None else len(live.prediction.iou)
        state.candidate = 0 if live is None else session.rank % len(live.prediction.iou) + 1
        state.predicted_iou = (
            0.0 if live is None else float(live.prediction.iou[live.candidate(session.rank)])
        )
        state.refining = 0 if self._refine is None else self._refine.label
        state.waiting = session.waiting
        if not session.is_busy:
            state.activity, state.done, state.total = "", 0, 0
        state.busy = session.is_busy

    def _layer_taken(self, role: str, layer: Any) -> None:
        self._bindings.bind_layer(role, layer)
        if role in ("points", "shapes"):
            self._set_defaults()

    def _layer_left(self, role: str, layer: Any) -> None:
        self._bindings.unbind_layer(role, layer)

    def _end(self, *, remove: bool) -> None:
        if self.state.closed:
            return
        self.state.closed = True
        self._session.stop()
        self._bindings.close()
        self._layers.release_all(remove=remove)
        self._dispatcher.close()
        self.state.busy = False
