"""The one owner of an annotation session's changing state.

Prompts come in as snapshots, requests go out one at a time, answers come back and become edits.
All methods are called on one thread; only `Engine.run` is on the worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..structures import MaskPrediction, Prompt
from .dispatch import Cancelled, Dispatcher, Job
from .engine import (
    AutoMaskRequest,
    EncodeRequest,
    Engine,
    MaskRequest,
    Request,
    RestRequest,
    View,
    Work,
)
from .functions import Records
from .objects import ObjectState, Refined


class Canvas(Protocol):
    """What a session draws on, and whom it tells."""

    def show_live(self, current: ObjectState) -> None:
        """Show the current object's mask, or none."""

    def write_object(self, done: ObjectState) -> None:
        """Write a committed object into the labels, in one undo step."""

    def write_auto_masks(
        self, request: AutoMaskRequest, labels: NDArray[np.int32], records: Records
    ) -> None:
        """Write all objects of a whole-image segmentation, in one undo step."""

    def status_changed(self) -> None:
        """The session's `status` or candidates changed."""

    def report(self, error: Exception) -> None:
        """Tell the person what failed."""

    def tell(self, message: str) -> None:
        """Tell the person what has happened."""


class Session:
    """State machine of one image layer's annotation; see the module."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher, canvas: Canvas) -> None:
        self.engine = engine
        self.dispatcher = dispatcher
        self.canvas = canvas
        self.current = ObjectState(0)
        self.first_error: Exception | None = None
        self._last_object_id = 0
        self._committing: dict[int, ObjectState] = {}
        self._queue: list[Work] = []
        self._running: Request | None = None
        self._rests = False
        self._unwanted: Request | None = None
        self._wanted_view: View | None = None
        self._is_closed = False

    # What is going on

    @property
    def is_busy(self) -> bool:
        """True while something is queued, running or not yet painted."""
        return self._running is not None or bool(self._queue)

    @property
    def status(self) -> str:
        """What the worker does, in a few words."""
        names = {
            EncodeRequest: "Encoding the image",
            MaskRequest: "Finding the object",
            AutoMaskRequest: "Segmenting everything",
        }
        if self._running is None or isinstance(self._running, RestRequest):
            return "Ready"
        model = self._running.view.model
        if model != self.engine.at_hand.used:
            return f"Loading {Path(model.name).name}"
        waiting = sum(isinstance(r, MaskRequest) for r in self._queue)
        clicks = f", {waiting} prompt{'s' * (waiting > 1)} waiting" if waiting else ""
        return names[type(self._running)] + clicks

    # Requests

    def prepare(self, view: View) -> None:
        """Encode ``view`` ahead of prompts; an encoding that is queued but not begun is dropped."""
        if self._rests or view == self._wanted_view:
            return
        self._wanted_view = view
        self._queue = [r for r in self._queue if not isinstance(r, EncodeRequest)]
        self._drop_auto_masks_of_other_data(view)
        self._enqueue(EncodeRequest(view))

    def set_prompt(self, view: View, prompt: Prompt, refines: Refined | None = None) -> None:
        """The current object's prompt is now this one; an empty one clears its mask.

        The same prompt again changes nothing. ``refines`` is the committed label that the object
        will replace.
        """
        current = self.current
        if current.knows(view, prompt, refines):
            return
        if current.view is not None and current.view.plane != view.plane:
            current.forget_answer()  # it is a mask of another plane
        current.view, current.prompt = view, None if prompt.is_empty else prompt
        current.refines, current.chosen = refines, 0
        current.serial += 1
        self._drop_requests_of(current)
        if current.prompt is None:
            current.forget_answer()
            self.canvas.show_live(current)
            self.canvas.status_changed()
            return
        self._enqueue(MaskRequest(view, current.object_id, current.serial, current.prompt))

    def auto_mask(self, view: View, settings: Mapping[str, Any], overwrite: bool) -> None:
        """Segment everything in ``view``."""
        self._enqueue(AutoMaskRequest(view, dict(settings), overwrite))

    # What a person does with the current object

    def next_candidate(self, step: int = 1) -> None:
        """Show the next best of the current object's candidates, also of an answer to come."""
        if self.current.prompt is not None:
            self.current.chosen += step
            self.canvas.show_live(self.current)
            self.canvas.status_changed()

    def commit(self, overwrite: bool = False) -> bool:
        """The current object is done: written as soon as its newest prompt is answered.

        Returns False if there is no current object.
        """
        done = self.current
        if done.prompt is None or not (done.is_pending or done.answer is not None):
            return False
        done.overwrite = overwrite
        self._begin_object()
        self._committing[done.object_id] = done
        self._write_committed()
        self.canvas.show_live(self.current)
        self.canvas.status_changed()
        return True

    def cancel_object(self) -> None:
        """Forget the current object."""
        self._drop_requests_of(self.current)
        self._begin_object()
        self.canvas.show_live(self.current)
        self.canvas.status_changed()

    def stop_work(self) -> None:
        """Cancel what runs and drop what waits, with a word about committed objects among it."""
        self._queue.clear()
        self._drop_committed("cancelled")
        self._wanted_view = None
        if self.current.is_pending:
            self.current.forget_answer()
        self._unwanted = self._running
        self.dispatcher.cancel()
        self.canvas.show_live(self.current)
        self.canvas.status_changed()

    def rest(self) -> None:
        """Give the model and its embeddings up as soon as nothing waits for an answer.

        Nothing is encoded ahead until `wake`; the next prompt, too, ends the rest.
        """
        self._rests, self._wanted_view = True, None
        self._queue = [r for r in self._queue if not isinstance(r, EncodeRequest)]
        if isinstance(self._running, EncodeRequest) and not self._queue:
            self.dispatcher.cancel()
        self._pump()

    def wake(self) -> None:
        """Work as ever after `rest`."""
        self._rests = False

    def close(self) -> None:
        """End the session; nothing is painted any more."""
        self._is_closed = True
        self._queue.clear()
        self._drop_committed("lost with their session")
        self._running = None
        self.dispatcher.close(self.engine.release)

    def note(self, error: Exception) -> None:
        """Report a failure; the first one is kept for who waits."""
        self.first_error = self.first_error or error
        self.canvas.report(error)

    # Inside

    def _enqueue(self, request: Work) -> None:
        """Let a request wait for its turn."""
        if self._is_closed:
            raise RuntimeError(
                "Expected a running session, this one has ended; attach to the image again."
            )
        self._rests = False
        self._queue.append(request)
        if not isinstance(request, AutoMaskRequest):
            self._stop_if_unwanted(request.view)
        self._pump()

    def _drop_committed(self, fate: str) -> None:
        """Forget committed objects that have no answer yet, and say so."""
        count = len(self._committing)
        self._committing.clear()
        if count:
            self.canvas.tell(f"{count} committed object{'s' * (count > 1)} without a mask {fate}.")

    def _drop_auto_masks_of_other_data(self, view: View) -> None:
        """What would be found in data that is gone must not be written beside new data."""

        def is_stale(request: Request | None) -> bool:
            return isinstance(request, AutoMaskRequest) and request.view.version != view.version

        kept = [r for r in self._queue if not is_stale(r)]
        is_dropped = len(kept) < len(self._queue)
        self._queue = kept
        if is_stale(self._running) and self._unwanted is not self._running:
            self._unwanted = self._running
            self.dispatcher.cancel()
            is_dropped = True
        if is_dropped:
            self.canvas.tell("The image has changed: segmenting everything was stopped.")

    def _begin_object(self) -> None:
        self._last_object_id += 1
        self.current = ObjectState(self._last_object_id)

    def _drop_requests_of(self, state: ObjectState) -> None:
        """Forget queued requests of an object; only its newest prompt counts."""
        self._queue = [
            r
            for r in self._queue
            if not (isinstance(r, MaskRequest) and r.object_id == state.object_id)
        ]

    def _write_committed(self) -> None:
        """Write what is answered, in the order in which it was committed."""
        while self._committing:
            done = next(iter(self._committing.values()))
            if done.is_pending:
                return
            del self._committing[done.object_id]
            try:
                self.canvas.write_object(done)
            except Exception as error:  # a layer that cannot be written to ends no session
                self.note(error)

    def _stop_if_unwanted(self, view: View) -> None:
        """Cancel running work on another view, unless somebody still waits for it."""
        running = self._running
        if not isinstance(running, EncodeRequest | MaskRequest) or running.view == view:
            return
        committed = isinstance(running, MaskRequest) and running.object_id in self._committing
        if not committed and all(r.view != running.view for r in self._queue):
            self.dispatcher.cancel()

    def _pump(self) -> None:
        """Start the next request if none runs."""
        can_rest = self._rests and not self.engine.at_hand.is_empty
        if self._running is not None or self._is_closed or not (self._queue or can_rest):
            self.canvas.status_changed()
            return
        request = self._running = self._queue.pop(0) if self._queue else RestRequest()
        work: Callable[..., Any] = lambda progress: self.engine.run(request, progress)  # noqa: E731
        self.dispatcher.submit(Job(self.status, work, self._succeeded, self._failed))
        self.canvas.status_changed()

    def _ended(self) -> Request | None:
        """The request that has run, after a word on what the person should know of it."""
        request, self._running = self._running, None
        for notice in self.engine.take_notices() if not self._is_closed else ():
            self.canvas.tell(notice)
        return request

    def _succeeded(self, answer: Any) -> None:
        request = self._ended()
        if self._is_closed or request is None:
            return
        if request is self._unwanted:
            self._pump()
            return
        try:
            if isinstance(request, MaskRequest):
                self._accept(request, answer)
            elif isinstance(request, AutoMaskRequest):
                self.canvas.write_auto_masks(request, *answer)
        except Exception as error:  # as above
            self.note(error)
        self._pump()

    def _failed(self, error: Exception) -> None:
        request = self._ended()
        if self._is_closed:
            return
        if isinstance(request, EncodeRequest):
            self._wanted_view = None
        if isinstance(request, MaskRequest):
            committed = self._committing.get(request.object_id)
            if committed is not None and committed.serial == request.serial:
                del self._committing[request.object_id]
            if (request.object_id, request.serial) == (self.current.object_id, self.current.serial):
                self.current.forget_answer()
                self.canvas.show_live(self.current)
        if not isinstance(error, Cancelled):
            self.note(error)
        self._write_committed()
        self._pump()

    def _accept(self, request: MaskRequest, answer: MaskPrediction) -> None:
        """Take an answer in, unless its prompt has been overtaken."""
        state = self._committing.get(request.object_id)
        if state is None and request.object_id == self.current.object_id:
            state = self.current
        if state is None or request.serial != state.serial:
            return
        state.answered, state.answer = request.serial, answer
        state.order = tuple(int(i) for i in np.argsort(-answer.iou, kind="stable"))
        if state is self.current:
            self.canvas.show_live(state)
        self._write_committed()
        self.canvas.status_changed()
