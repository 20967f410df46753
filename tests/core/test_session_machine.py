"""Random work on a stack of two planes, against a plain model that answers at once.

The model knows nothing of queues: it holds what was committed, in order. Whenever the session is
quiet, labels and the live mask must be the model's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.core.stage import SIZE, Canvas, click, drain, view
from tests.fakes import FakeFunctions, disk

from napari_segment_anything.core.dispatch import InlineDispatcher
from napari_segment_anything.core.engine import Engine
from napari_segment_anything.core.labels import object_edit
from napari_segment_anything.core.objects import Refined
from napari_segment_anything.core.session import Session
from napari_segment_anything.geometry.planes import PlaneRef
from napari_segment_anything.structures import Prompt

POISON = 13  # a prompt with a point at this x makes the model fail
PIXELS = [np.full(SIZE, z, np.uint8) for z in (0, 1)]


class Poisoned(FakeFunctions):
    def predict(self, model, embedding, points_xy, labels, box, mask):
        if (points_xy[:, 0] == POISON).any():
            raise RuntimeError("poisoned")
        return super().predict(model, embedding, points_xy, labels, box, mask)


class StackCanvas(Canvas):
    def __init__(self) -> None:
        super().__init__()
        self.labels = np.zeros((2, *SIZE), np.int32)

    def write_object(self, done):
        if done.mask is None:
            return
        label = done.refines.label if done.refines else int(self.labels.max()) + 1
        plane = self.labels[done.view.plane.at[0]]
        replaces = done.refines.mask if done.refines else None
        edit = object_edit(plane, done.mask, label, overwrite=done.overwrite, replaces=replaces)
        plane[edit.rows, edit.cols] = edit.values
        self.written.append(done.object_id)


@dataclass(frozen=True)
class Commit:
    z: int
    mask: np.ndarray
    overwrite: bool
    refines: Refined | None


def written(commits: list[Commit]) -> np.ndarray:
    """What the labels hold after these commits, pixel rules spelled out once more."""
    labels = np.zeros((2, *SIZE), np.int32)
    for one in commits:
        plane = labels[one.z]
        label = one.refines.label if one.refines else labels.max() + 1
        free = (plane == 0) | (plane == label) | one.overwrite
        if one.refines:
            plane[(plane == label) & one.refines.mask] = 0
        plane[one.mask & free] = label
    return labels


class Annotating(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.canvas, self.dispatcher = StackCanvas(), InlineDispatcher()
        self.session = Session(Engine(Poisoned()), self.dispatcher, self.canvas)
        self.commits: list[Commit] = []
        self.begin()

    def begin(self) -> None:
        self.points: list[tuple[int, int, int]] = []
        self.z, self.rank, self.refines, self.has_no_answer = 0, 0, None, False
        self.sent: tuple | None = None

    def send(self) -> None:
        now = (self.z, tuple(self.points), self.refines)
        if now == self.sent and self.is_known():
            pass  # the same prompt again changes nothing, the chosen candidate least of all
        else:
            self.rank, self.has_no_answer = 0, False
        self.sent = now
        plane = PlaneRef(1, 2, (self.z, 0, 0))
        prompt = Prompt()
        if self.points:
            prompt = click(*(p[:2] for p in self.points), labels=[p[2] for p in self.points])
        there = view(PIXELS[self.z], plane=plane)
        self.session.set_prompt(there, prompt, self.refines)

    def is_known(self) -> bool:
        current = self.session.current
        return bool(self.points) and (current.is_pending or current.answer is not None)

    @property
    def is_poisoned(self) -> bool:
        return any(x == POISON for x, _, _ in self.points)

    def mask(self) -> np.ndarray:
        radius = (8, 6, 4)[self.rank % 3] if len(self.points) == 1 else 8
        out = np.zeros(SIZE, bool)
        for x, y, label in sorted(self.points, key=lambda p: -p[2]):
            out[disk(SIZE, x, y, radius)] = bool(label)
        return out

    @rule(x=st.integers(0, 49) | st.just(POISON), y=st.integers(0, 39), label=st.integers(0, 1))
    def add_point(self, x, y, label):
        self.points.append((x, y, label))
        self.send()

    @rule()
    def remove_point(self):
        self.points = self.points[:-1]
        self.send()

    @rule(z=st.integers(0, 1))
    def other_plane(self, z):
        self.z = z
        self.session.prepare(view(PIXELS[z], plane=PlaneRef(1, 2, (z, 0, 0))))
        self.send()

    @rule()
    def step(self):
        self.rank += bool(self.points)
        self.session.next_candidate()

    @precondition(lambda self: not self.session.is_busy and self.canvas.labels.any())
    @rule(data=st.data())
    def refine(self, data):
        known = np.unique(self.canvas.labels[self.canvas.labels > 0]).tolist()
        label = data.draw(st.sampled_from(known))
        z = int(np.nonzero((self.canvas.labels == label).any(axis=(1, 2)))[0][0])
        self.cancel()
        self.refines = Refined(label, self.canvas.labels[z] == label)
        self.z, self.points = z, [(20, 20, 1)]
        self.send()

    @rule(overwrite=st.booleans())
    def commit(self, overwrite):
        was_pending = self.session.current.is_pending
        accepted = self.session.commit(overwrite)
        can = bool(self.points) and not self.has_no_answer
        if self.is_poisoned and not self.has_no_answer:
            can = was_pending
        assert accepted == can
        if not accepted:
            return
        if not self.is_poisoned:
            self.commits.append(Commit(self.z, self.mask(), overwrite, self.refines))
        self.begin()

    @rule()
    def cancel(self):
        self.session.cancel_object()
        self.begin()

    @rule()
    def stop(self):
        self.commits = self.commits[: len(self.canvas.written)]
        self.has_no_answer |= self.session.current.is_pending
        self.session.stop_work()

    @precondition(lambda self: self.session.is_busy)
    @rule()
    def work(self):
        self.dispatcher.process()

    @invariant()
    def commits_are_written_in_order(self):
        so_far = self.commits[: len(self.canvas.written)]
        assert np.array_equal(self.canvas.labels, written(so_far))

    @invariant()
    def what_is_quiet_agrees(self):
        if self.session.is_busy:
            return
        assert len(self.canvas.written) == len(self.commits)
        live = self.canvas.live
        if not self.points or self.is_poisoned or self.has_no_answer:
            assert live is None
        else:
            assert np.array_equal(live, self.mask())

    def teardown(self):
        drain(self.session, self.dispatcher)
        self.commits_are_written_in_order()
        self.what_is_quiet_agrees()
        assert all("poisoned" in str(e) for e in self.canvas.errors)
        assert self.session.engine.encode_count <= 2


Annotating.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAnnotating = Annotating.TestCase
