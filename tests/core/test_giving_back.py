"""Models and embeddings are gone when they should be, though nobody else collects garbage."""

from __future__ import annotations

import gc
import shutil
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from tests.core.stage import Canvas, click, drain, view
from tests.fakes import Thing

from napari_segment_anything.config import ModelChoice
from napari_segment_anything.core.dispatch import InlineDispatcher
from napari_segment_anything.core.engine import Engine
from napari_segment_anything.core.session import Session
from napari_segment_anything.inference.memory import drop_locals, give_back
from napari_segment_anything.zoo.loader import built_in_path

RAMP = np.arange(2000, dtype=np.uint16).reshape(40, 50)


@pytest.fixture(autouse=True)
def no_collection():
    """Nobody promises that a collection will come."""
    gc.disable()
    yield
    gc.enable()


def watch(engine: Engine) -> list[weakref.ref]:
    """Weak references to the model at hand and to every embedding."""
    kept = [engine.at_hand.model, *engine.cache._kept.values()]
    assert len(kept) > 1 and None not in kept
    return [weakref.ref(one) for one in kept]


def alive(references: list[weakref.ref]) -> int:
    return sum(one() is not None for one in references)


@pytest.fixture
def used(play):
    """A session that has answered prompts on two planes."""
    for version, x in ((0, 10), (1, 30)):
        play.session.set_prompt(view(RAMP + version, version=version), click((x, 15)))
        play.drain()
    return SimpleNamespace(**vars(play), gone=watch(play.session.engine))


def test_switching_gives_the_old_model_and_its_embeddings_up(used):
    assert alive(used.gone) == 3
    used.session.set_prompt(view(RAMP, model="other"), click((10, 15)))
    used.drain()
    assert alive(used.gone) == 0 and len(used.session.engine.cache) == 1
    assert used.session.current.mask[15, 10]


def test_another_precision_is_another_model(used):
    choice = ModelChoice("fake", precision="bf16")
    used.session.set_prompt(view(RAMP, model=choice), click((10, 15)))
    used.drain()
    assert alive(used.gone) == 0 and used.session.engine.encode_count == 3
    assert used.session.engine.at_hand.model.precision == "bf16"


def test_a_model_that_fails_to_load_costs_nothing(used):
    used.session.set_prompt(view(RAMP, model="broken"), click((10, 15)))
    used.drain()
    assert alive(used.gone) == 3 and len(used.canvas.errors) == 1


def test_closing_gives_everything_up_for_who_still_holds_the_session(used):
    used.session.close()
    assert alive(used.gone) == 0


def test_resting_gives_memory_back_and_the_next_prompt_loads_again(used):
    used.session.commit()
    used.drain()
    used.session.rest()
    used.drain()
    assert alive(used.gone) == 0 and used.canvas.labels[15, 30] == 1
    used.session.prepare(view(RAMP))  # nobody looks: nothing is encoded ahead
    assert not used.session.is_busy
    used.session.set_prompt(view(RAMP), click((10, 15)))
    used.drain()
    assert used.session.current.mask[15, 10] and used.session.engine.at_hand.model is not None


def test_resting_waits_for_answers_and_loses_none(used):
    session = used.session
    session.set_prompt(view(RAMP), click((10, 30)))
    session.commit()
    session.set_prompt(view(RAMP), click((40, 30)))
    session.auto_mask(view(RAMP), {}, overwrite=False)
    session.rest()
    used.drain()
    assert alive(used.gone) == 0 and session.engine.at_hand.is_empty
    assert used.canvas.labels[30, 10] == 1 and session.current.mask[30, 40]
    assert len(np.unique(used.canvas.labels)) == 4  # the button's two, and what was committed


def test_resting_drops_what_was_only_encoded_ahead(used):
    used.session.prepare(view(RAMP + 7, version=7))
    used.session.rest()
    used.drain()
    assert used.session.engine.encode_count == 2 and used.session.engine.at_hand.is_empty
    used.session.wake()
    used.session.prepare(view(RAMP + 7, version=7))
    used.drain()
    assert used.session.engine.encode_count == 3


def test_a_model_handed_in_outlives_a_rest_but_not_the_session(used):
    model = Thing(**vars(used.session.engine.at_hand.model))
    mine = view(RAMP, model=used.session.engine.at_hand.offer(model))
    reference = weakref.ref(model)
    del model
    used.session.set_prompt(mine, click((10, 15)))
    used.drain()
    assert alive(used.gone) == 0
    used.session.rest()
    used.drain()
    used.session.set_prompt(mine, click((30, 15)))
    used.drain()
    assert used.session.current.mask[15, 30] and reference() is not None
    used.session.close()
    assert reference() is None


def test_a_kept_error_holds_no_images(used):
    held = []

    def fail(model, image, **options):
        pixels = np.zeros(9)
        held.append(weakref.ref(pixels))
        raise ValueError("no such image")

    used.functions.encode = fail
    used.session.set_prompt(view(RAMP + 5, version=5), click((10, 15)))
    used.drain()
    assert isinstance(used.session.first_error, ValueError) and held[0]() is None
    used.session.close()
    assert alive(used.gone) == 0


def test_causes_of_errors_hold_nothing_either():
    def inner():
        big = np.zeros(3)
        refs.append(weakref.ref(big))
        raise KeyError("inner")

    def outer():
        big = np.zeros(3)
        refs.append(weakref.ref(big))
        try:
            inner()
        except KeyError as error:
            raise ValueError("outer") from error

    refs: list[weakref.ref] = []
    try:
        outer()
    except ValueError as error:
        drop_locals(error)
        assert alive(refs) == 0 and isinstance(error.__cause__, KeyError)


def test_giving_back_twice_is_harmless():
    give_back()
    give_back()


def test_a_real_model_and_its_features_are_gone(tmp_path):
    other = shutil.copy(built_in_path(), tmp_path / "other.safetensors")
    engine, dispatcher = Engine(), InlineDispatcher()
    session = Session(engine, dispatcher, Canvas())
    nano = ModelChoice("nano", "cpu", "fp32")
    session.set_prompt(view(RAMP, model=nano), click((20, 15)))
    drain(session, dispatcher)
    first = [*watch(engine), weakref.ref(engine.at_hand.model.sam)]
    session.set_prompt(view(RAMP, model=ModelChoice(str(other), "cpu", "fp32")), click((20, 15)))
    drain(session, dispatcher)
    assert alive(first) == 0 and session.first_error is None
    second = [*watch(engine), weakref.ref(engine.at_hand.model.sam)]
    session.close()
    assert alive(second) == 0
