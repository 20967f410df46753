"""The session's promises, with a canvas that remembers and functions that are fakes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.core.stage import SIZE, Canvas, click, drain, view
from tests.fakes import FakeFunctions, disk

from napari_segment_anything.config import ModelChoice
from napari_segment_anything.core.dispatch import InlineDispatcher
from napari_segment_anything.core.embedding_cache import EmbeddingCache
from napari_segment_anything.core.engine import Engine, View
from napari_segment_anything.core.session import Session
from napari_segment_anything.geometry.planes import PlaneRef


@pytest.fixture
def parts():
    functions, canvas = FakeFunctions(), Canvas()
    engine = Engine(functions)
    dispatcher = InlineDispatcher()
    return Session(engine, dispatcher, canvas), canvas, functions, dispatcher


def test_best_rated_candidate_first_then_in_a_circle(parts):
    session, canvas, _, dispatcher = parts
    session.set_prompt(view(), click((20, 15)))
    drain(session, dispatcher)
    areas = []
    for _ in range(4):
        areas.append(int(canvas.live.sum()))
        session.next_candidate()
    best, second, worst = (int(disk(SIZE, 20, 15, r).sum()) for r in (8, 6, 4))
    assert areas == [best, second, worst, best]


def test_candidate_chosen_before_the_answer(parts):
    session, canvas, _, dispatcher = parts
    session.set_prompt(view(), click((20, 15)))
    session.next_candidate()
    drain(session, dispatcher)
    assert np.array_equal(canvas.live, disk(SIZE, 20, 15, 6))


def test_only_the_newest_prompt_is_answered(parts):
    session, canvas, functions, dispatcher = parts
    session.prepare(view())
    for x in range(10, 30):
        session.set_prompt(view(), click((x, 15)))
    drain(session, dispatcher)
    assert functions.predictions == 1 and len(functions.encoded) == 1
    assert np.array_equal(canvas.live, disk(SIZE, 29, 15, 8))


def test_commits_before_the_answer_keep_their_order(parts):
    session, canvas, _, dispatcher = parts
    session.prepare(view())
    for x in (10, 25, 40):
        session.set_prompt(view(), click((x, 15)))
        assert session.commit()
    assert not canvas.labels.any()
    drain(session, dispatcher)
    assert [canvas.labels[15, x] for x in (10, 25, 40)] == [1, 2, 3]
    assert canvas.live is None and not session.commit()


def test_an_answered_object_waits_for_the_one_committed_before_it(parts):
    session, canvas, _, dispatcher = parts
    session.set_prompt(view(), click((10, 15)))
    session.commit()
    first = session._running
    session.set_prompt(view(), click((25, 15)))
    drain(session, dispatcher)
    session.commit()
    assert canvas.written == [first.object_id, first.object_id + 1]


def test_cancelled_objects_are_not_painted(parts):
    session, canvas, _, dispatcher = parts
    session.set_prompt(view(), click((10, 15)))
    session.cancel_object()
    drain(session, dispatcher)
    assert canvas.live is None and not canvas.labels.any()


def test_errors_are_told_and_the_session_goes_on(parts):
    session, canvas, functions, dispatcher = parts
    functions.fail_next = RuntimeError("no memory")
    session.set_prompt(view(), click((10, 15)))
    drain(session, dispatcher)
    assert canvas.errors == [session.first_error] and canvas.live is None
    assert not session.commit()
    session.set_prompt(view(), click((12, 15)))
    drain(session, dispatcher)
    assert canvas.live[15, 12] and session.commit() and canvas.labels[15, 12] == 1


def test_a_failed_commit_does_not_hold_up_the_next(parts):
    session, canvas, functions, dispatcher = parts
    functions.fail_next = RuntimeError("no memory")
    for x in (10, 30):
        session.set_prompt(view(), click((x, 15)))
        session.commit()
    drain(session, dispatcher)
    assert canvas.labels[15, 10] == 0 and canvas.labels[15, 30] == 1


def test_stopping_forgets_the_stale_mask(parts):
    session, canvas, _, dispatcher = parts
    session.set_prompt(view(), click((10, 15)))
    drain(session, dispatcher)
    session.set_prompt(view(), click((30, 15)))
    session.stop_work()
    drain(session, dispatcher)
    assert canvas.live is None and not session.commit()


def test_encoded_again_only_if_something_changed():
    functions = FakeFunctions()
    engine = Engine(functions, EmbeddingCache())
    session = Session(engine, dispatcher := InlineDispatcher(), Canvas())
    image = np.arange(np.prod(SIZE), dtype=np.uint16).reshape(SIZE)
    views = [
        view(image),
        view(image.copy(), version=1),  # equal pixels in another array
        view(image, limits=(0.0, 5.0)),
        view(image + 1),
        view(image, model="other"),
        view(image),
    ]
    counts = []
    for one in views:
        session.set_prompt(one, click((20, 20)))
        drain(session, dispatcher)
        counts.append(engine.encode_count)
    assert counts == [1, 1, 2, 3, 4, 5]  # a model takes its embeddings along


def test_changes_in_place_are_seen():
    functions = FakeFunctions()
    engine = Engine(functions)
    image = np.zeros(SIZE, np.uint8)
    session = Session(engine, dispatcher := InlineDispatcher(), Canvas())
    session.set_prompt(view(image), click((20, 20)))
    drain(session, dispatcher)
    image[3, 3] = 9
    session.set_prompt(view(image), click((21, 20)))
    drain(session, dispatcher)
    assert engine.encode_count == 2 and functions.encoded[1][3, 3] == 9


def test_lazy_planes_are_read_once():
    reads = []

    def read():
        reads.append(1)
        return np.zeros(SIZE, np.uint8)

    lazy = View(ModelChoice("fake"), PlaneRef(0, 1, (0, 0)), SIZE, 0, None, read, is_lazy=True)
    engine = Engine(FakeFunctions())
    session = Session(engine, dispatcher := InlineDispatcher(), Canvas())
    for x in (5, 10, 15):
        session.set_prompt(lazy, click((x, 20)))
        drain(session, dispatcher)
    assert len(reads) == 1 and engine.encode_count == 1


def test_cache_keeps_its_budget():
    functions = FakeFunctions()
    engine = Engine(functions, EmbeddingCache(budget_bytes=250))
    session = Session(engine, dispatcher := InlineDispatcher(), Canvas())
    for value in (0, 1, 2, 1, 0):
        session.set_prompt(view(np.full(SIZE, value, np.uint8), version=value), click((9, 9)))
        drain(session, dispatcher)
        assert engine.cache.nbytes <= 250
    assert engine.encode_count == 4  # 0 had to go, 1 had not
