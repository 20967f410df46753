"""What a session promises when prompts, answers, commits and errors cross each other."""

from __future__ import annotations

import numpy as np
import pytest
from tests.core.stage import SIZE, click, view
from tests.fakes import disk

from napari_segment_anything.core.dispatch import Cancelled
from napari_segment_anything.core.objects import Refined
from napari_segment_anything.geometry.planes import PlaneRef
from napari_segment_anything.structures import Prompt


def test_status_tells_what_runs_and_how_many_wait(play):
    session = play.session
    assert session.status == "Ready" and not session.is_busy
    session.prepare(view(model="weights/big.pth"))
    assert session.status == "Loading big.pth"
    play.dispatcher.process()
    assert session.status == "Ready"
    session.prepare(view(version=1, model="weights/big.pth"))
    assert session.status == "Encoding the image" and session.is_busy


def test_waiting_prompts_are_counted_in_words(play):
    session = play.session
    session.prepare(view())
    play.dispatcher.process()
    session.prepare(view(version=1))
    session.set_prompt(view(version=1), click((10, 15)))
    assert session.status == "Encoding the image, 1 prompt waiting"
    session.commit()
    session.set_prompt(view(version=1), click((30, 15)))
    assert session.status == "Encoding the image, 2 prompts waiting"
    play.dispatcher.process()
    assert session.status == "Finding the object, 1 prompt waiting"


def test_preparing_the_same_view_twice_is_one_encoding(play):
    for _ in range(3):
        play.session.prepare(view())
    play.drain()
    assert len(play.functions.encoded) == 1


def test_only_the_last_of_many_planes_is_encoded_ahead(play):
    for value in range(6):  # a hand on the slider
        play.session.prepare(view(np.full(SIZE, value, np.uint8), version=value))
    play.drain()
    assert [int(image[0, 0]) for image in play.functions.encoded] == [5]


def test_the_answer_of_an_overtaken_prompt_is_dropped(play):
    session = play.session
    session.set_prompt(view(), click((10, 15)))  # begins to run
    session.set_prompt(view(), click((30, 15)))  # overtakes it
    play.dispatcher.process()
    assert play.canvas.live is None and session.current.is_pending
    play.dispatcher.process()
    assert np.array_equal(play.canvas.live, disk(SIZE, 30, 15, 8))
    assert play.functions.predictions == 2


def test_an_emptied_prompt_drops_the_answer_on_its_way(play):
    play.session.set_prompt(view(), click((10, 15)))
    play.session.set_prompt(view(), Prompt())
    play.drain()
    assert play.canvas.live is None and play.session.current.answer is None
    assert not play.session.commit()


def test_commit_and_cancel_cross(play):
    session = play.session
    session.set_prompt(view(), click((10, 15)))
    session.commit()
    session.set_prompt(view(), click((30, 15)))
    session.cancel_object()
    session.set_prompt(view(), click((40, 30)))
    play.drain()
    assert np.array_equal(play.canvas.labels > 0, disk(SIZE, 10, 15, 8))
    assert np.array_equal(play.canvas.live, disk(SIZE, 40, 30, 8))


def test_the_candidate_chosen_before_the_answer_is_the_one_committed(play):
    session = play.session
    session.set_prompt(view(), click((10, 15)))
    session.next_candidate()
    session.next_candidate()
    session.commit()
    play.drain()
    assert np.array_equal(play.canvas.labels == 1, disk(SIZE, 10, 15, 4))


def test_a_step_back_shows_the_worst_candidate(play):
    play.session.set_prompt(view(), click((20, 15)))
    play.drain()
    play.session.next_candidate(-1)
    assert np.array_equal(play.canvas.live, disk(SIZE, 20, 15, 4))
    assert play.session.current.iou == pytest.approx(0.5)


def test_candidates_of_nothing_are_nothing(play):
    play.session.next_candidate()
    assert play.session.current.chosen == 0 and play.canvas.live is None


def test_a_new_point_starts_with_the_best_candidate_again(play):
    session = play.session
    session.set_prompt(view(), click((20, 15)))
    play.drain()
    session.next_candidate()
    session.set_prompt(view(), click((22, 15)))
    play.drain()
    assert np.array_equal(play.canvas.live, disk(SIZE, 22, 15, 8))


def test_refining_keeps_the_id_and_takes_pixels_back(play):
    session = play.session
    for x in (10, 30):
        session.set_prompt(view(), click((x, 15)))
        session.commit()
    play.drain()
    session.set_prompt(view(), click((12, 15)), Refined(1, play.canvas.labels == 1))
    assert session.commit()
    play.drain()
    assert np.array_equal(play.canvas.labels == 1, disk(SIZE, 12, 15, 8))
    assert np.array_equal(play.canvas.labels == 2, disk(SIZE, 30, 15, 8))


def test_overwrite_is_the_commits_own_choice(play):
    session = play.session
    for x, overwrite in ((20, False), (24, True), (28, False)):
        session.set_prompt(view(), click((x, 15)))
        session.commit(overwrite)
    play.drain()
    first, second, third = (disk(SIZE, x, 15, 8) for x in (20, 24, 28))
    expected = np.where(second, 2, np.where(first, 1, np.where(third, 3, 0)))
    assert np.array_equal(play.canvas.labels, expected)


def test_auto_masks_wait_for_commits_before_them(play):
    session = play.session
    session.set_prompt(view(), click((5, 5)))
    session.commit()
    session.auto_mask(view(), {}, overwrite=False)
    play.drain()
    labels = play.canvas.labels
    assert np.array_equal(labels == 1, disk(SIZE, 5, 5, 8))
    assert labels[2:8, 14:18].min() == labels.max() and labels.max() in (2, 3)
    assert play.session.engine.encode_count == 1


def test_a_layer_that_cannot_be_written_to_is_told_of(play):
    session = play.session
    session.set_prompt(view(), click((10, 15)))
    session.commit()
    play.canvas.refuses = ValueError("read-only")
    play.drain()
    assert [str(e) for e in play.canvas.errors] == ["read-only"]
    assert not play.canvas.labels.any()
    session.set_prompt(view(), click((10, 15)))
    session.commit()
    play.drain()
    assert play.canvas.labels[15, 10] == 1


def test_the_first_of_several_errors_is_kept(play):
    for text in ("first", "second"):
        play.functions.fail_next = RuntimeError(text)
        play.session.set_prompt(view(), click((10, 15)))
        play.drain()
    assert str(play.session.first_error) == "first"
    assert [str(e) for e in play.canvas.errors] == ["first", "second"]


def test_a_cancelled_job_is_no_error(play):
    play.functions.fail_next = Cancelled("stopped")
    play.session.set_prompt(view(), click((10, 15)))
    play.drain()
    assert play.canvas.errors == [] and play.session.first_error is None
    assert play.session.status == "Ready" and not play.session.commit()


def test_a_model_that_does_not_load_leaves_the_queue_working(play):
    session = play.session
    session.prepare(view(model="broken"))
    play.dispatcher.process()
    session.set_prompt(view(), click((10, 15)))
    play.drain()
    assert ["broken" in str(e) for e in play.canvas.errors] == [True]
    assert np.array_equal(play.canvas.live, disk(SIZE, 10, 15, 8))
    session.prepare(view(model="broken"))  # asked again, tried again
    play.drain()
    assert len(play.canvas.errors) == 2


def test_stopping_drops_what_waits_and_the_session_goes_on(play):
    session = play.session
    session.prepare(view())
    session.set_prompt(view(), click((10, 15)))
    session.commit()
    session.auto_mask(view(), {}, overwrite=False)
    session.stop_work()
    play.drain()
    assert not play.canvas.labels.any() and play.functions.predictions == 0
    session.prepare(view())
    session.set_prompt(view(), click((30, 15)))
    session.commit()
    play.drain()
    assert np.array_equal(play.canvas.labels == 1, disk(SIZE, 30, 15, 8))


def test_a_committed_object_is_not_painted_after_stopping(play):
    session = play.session
    session.set_prompt(view(), click((10, 15)))  # runs
    session.commit()
    session.stop_work()
    session.set_prompt(view(), click((30, 15)))
    play.drain()
    assert not play.canvas.labels.any()
    assert np.array_equal(play.canvas.live, disk(SIZE, 30, 15, 8))


def test_nothing_is_painted_after_closing(play):
    session = play.session
    session.set_prompt(view(), click((10, 15)))
    session.commit()
    session.close()
    play.dispatcher.process()
    assert not play.canvas.labels.any() and not session.is_busy
    assert session.engine.cache.nbytes == 0
    assert play.canvas.told == ["1 committed object without a mask lost with their session."]
    for late in (
        lambda: session.set_prompt(view(), click((10, 15))),
        lambda: session.prepare(view(version=1)),
        lambda: session.auto_mask(view(), {}, False),
    ):
        with pytest.raises(RuntimeError, match="attach to the image again"):
            late()
    assert not session.is_busy and play.functions.predictions == 0


def test_an_older_failure_does_not_take_a_newer_commit_along(play):
    session = play.session
    play.functions.fail_next = RuntimeError("boom")
    session.set_prompt(view(), click((10, 15)))
    session.set_prompt(view(), click((10, 15), (30, 15)))
    session.commit()
    play.drain()
    assert [str(e) for e in play.canvas.errors] == ["boom"]
    assert play.canvas.labels[15, 10] == play.canvas.labels[15, 30] == 1


def test_the_same_prompt_again_changes_nothing(play):
    session = play.session
    session.set_prompt(view(), click((20, 15)))
    play.drain()
    session.next_candidate()
    session.set_prompt(view(), click((20, 15)))
    assert not session.is_busy and session.current.chosen == 1
    assert play.functions.predictions == 1


def test_an_answer_of_another_plane_is_not_shown(play):
    session = play.session
    session.set_prompt(view(), click((20, 15)))
    play.drain()
    session.set_prompt(view(plane=PlaneRef(1, 0, (0, 0))), click((20, 15)))
    session.next_candidate()
    assert session.current.mask is None and play.canvas.live is None


def test_stopped_work_writes_nothing_though_it_ends(play):
    session = play.session
    session.auto_mask(view(), {}, overwrite=False)
    job = play.dispatcher._jobs.popleft()
    session.stop_work()
    job.done(job.work(lambda done, total: None))  # it was about to end when it was stopped
    assert not play.canvas.labels.any() and not session.is_busy


def test_cancel_keeps_an_answered_prompt_and_tells_of_commits(play):
    session = play.session
    session.set_prompt(view(), click((20, 15)))
    play.drain()
    session.auto_mask(view(), {}, overwrite=False)
    session.stop_work()
    play.drain()
    assert np.array_equal(play.canvas.live, disk(SIZE, 20, 15, 8)) and not play.canvas.told
    session.prepare(view(version=1))
    session.set_prompt(view(version=1), click((30, 15)))
    session.commit()
    session.stop_work()
    assert play.canvas.told == ["1 committed object without a mask cancelled."]


def test_objects_of_data_that_is_gone_are_not_written(play):
    session = play.session
    session.auto_mask(view(), {}, overwrite=False)
    session.prepare(view(np.ones(SIZE, np.uint8), version=1))
    play.drain()
    assert not play.canvas.labels.any()
    assert play.canvas.told == ["The image has changed: segmenting everything was stopped."]
