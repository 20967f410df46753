"""What makes the engine encode, read and load again, and what does not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from tests.core.stage import PLANE, SIZE, click, view
from tests.fakes import FakeFunctions, fake_model

from napari_segment_anything.config import ModelChoice
from napari_segment_anything.core.embedding_cache import EmbeddingCache
from napari_segment_anything.core.engine import AutoMaskRequest, EncodeRequest, Engine, MaskRequest
from napari_segment_anything.geometry.planes import PlaneRef
from napari_segment_anything.structures import EmbeddingKey

RAMP = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)


class Recording(FakeFunctions):
    """Also remembers loads, contrast limits and what whole-image runs were given."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.limits: list[tuple[float, float] | None] = []
        self.auto: list[tuple[object, dict]] = []

    def load_model(self, name, device="auto", precision="auto", *, progress=None):
        self.loaded.append(name)
        return super().load_model(name, device, precision, progress=progress)

    def encode(self, model, image, *, contrast_limits, progress):
        self.limits.append(contrast_limits)
        return super().encode(model, image, contrast_limits=contrast_limits, progress=progress)

    def auto_mask(self, model, image, *, progress, **settings):
        self.auto.append((image, settings))
        return np.zeros(SIZE, np.int32), []


def ignore(done: int, total: int) -> None:
    pass


@pytest.fixture
def functions():
    return Recording()


@pytest.fixture
def engine(functions):
    return Engine(functions)


def encode(engine, one):
    return engine.run(EncodeRequest(one), ignore)


def test_many_prompts_on_one_view_encode_once(engine, functions):
    for x in range(20):
        engine.run(MaskRequest(view(RAMP), 0, x, click((x, 5))), ignore)
    engine.run(AutoMaskRequest(view(RAMP), {}, overwrite=False), ignore)
    assert engine.encode_count == 1 and functions.predictions == 20
    assert functions.loaded == ["fake"]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 1),
        ({"version": 3}, 1),  # set again, but with equal pixels
        ({"image": RAMP + 1}, 2),
        ({"image": RAMP.astype(np.int32)}, 2),
        ({"image": RAMP.T}, 2),
        ({"limits": (0.0, 9.0)}, 2),
    ],
)
def test_encodes_again_when_and_only_when_it_must(engine, change, count):
    encode(engine, view(RAMP))
    encode(engine, view(**{"image": RAMP, **change}))
    assert engine.encode_count == count
    encode(engine, view(RAMP))  # the first one is still there
    assert engine.encode_count == count


def test_another_plane_with_other_pixels_is_encoded(engine, functions):
    stack = np.stack([RAMP, RAMP[::-1], RAMP])
    for z in (0, 1, 2, 1, 0):
        encode(engine, view(stack[z], plane=PlaneRef(1, 2, (z, 0, 0))))
    assert engine.encode_count == 2  # planes 0 and 2 hold the same pixels
    assert np.array_equal(functions.encoded[1], RAMP[::-1])


def test_a_transposed_square_is_another_view(engine):
    square = np.arange(400).reshape(20, 20)
    encode(engine, view(square))
    encode(engine, view(square.T, plane=PlaneRef(1, 0, (0, 0))))
    assert engine.encode_count == 2


def test_contrast_limits_reach_the_encoder(engine, functions):
    encode(engine, view(RAMP, limits=(2.0, 50.0)))
    encode(engine, view(RAMP))
    assert functions.limits == [(2.0, 50.0), None]


def test_lazy_planes_are_read_once_a_version_and_plane(engine):
    reads = []

    def lazy(version, z):
        one = view(version=version, lazy=True, plane=PlaneRef(1, 2, (z, 0, 0)))

        def read():
            reads.append((version, z))
            return np.full(SIZE, 10 * version + z, np.uint8)

        object.__setattr__(one, "read", read)
        return one

    for version, z in [(0, 0), (0, 0), (0, 1), (0, 0), (1, 0), (1, 0)]:
        encode(engine, lazy(version, z))
    assert reads == [(0, 0), (0, 1), (1, 0)] and engine.encode_count == 3


def test_a_lazy_plane_is_read_again_only_to_encode_it_again(functions):
    engine = Engine(functions, EmbeddingCache(budget_bytes=100))  # room for one
    reads = []

    def lazy(z):
        one = view(lazy=True, plane=PlaneRef(1, 2, (z, 0, 0)))
        object.__setattr__(one, "read", lambda: reads.append(z) or np.full(SIZE, z, np.uint8))
        return one

    for z in (0, 1, 0):
        encode(engine, lazy(z))
    assert reads == [0, 1, 0] and engine.encode_count == 3
    assert [int(i[0, 0]) for i in functions.encoded] == [0, 1, 0]


def test_whole_image_runs_reuse_the_embedding_unless_cropped(engine, functions):
    embedding = encode(engine, view(RAMP))
    engine.run(AutoMaskRequest(view(RAMP), {"points_per_side": 4}, overwrite=False), ignore)
    given, settings = functions.auto[0]
    assert given is embedding and settings == {"points_per_side": 4}
    cropped = {"crop_n_layers": 1}
    engine.run(AutoMaskRequest(view(RAMP, limits=(1.0, 9.0)), cropped, overwrite=False), ignore)
    given, settings = functions.auto[1]
    assert np.array_equal(given, RAMP)
    assert settings == {"crop_n_layers": 1, "contrast_limits": (1.0, 9.0)}
    assert engine.encode_count == 1


def test_a_model_in_hand_needs_no_loading(engine, functions):
    model = fake_model("mine")
    name = engine.at_hand.offer(model)
    encode(engine, view(RAMP, model=name))
    assert functions.loaded == [] and engine.at_hand.model is model
    assert engine.at_hand.used == ModelChoice(name)


def test_a_failed_load_is_remembered_and_the_last_model_stays(engine, functions):
    encode(engine, view(RAMP))
    with pytest.raises(ValueError, match="broken"):
        encode(engine, view(RAMP, model="broken"))
    assert engine.at_hand.failed == ModelChoice("broken")
    assert engine.at_hand.used == ModelChoice("fake")
    encode(engine, view(RAMP))
    assert functions.loaded == ["fake", "broken"] and engine.encode_count == 1


def test_an_encoding_that_is_cancelled_is_not_kept(engine, functions):
    def stop(done, total):
        raise KeyError("enough")

    with pytest.raises(KeyError):
        engine.run(EncodeRequest(view(RAMP)), stop)
    assert len(engine.cache) == 0 and functions.encoded == []
    encode(engine, view(RAMP))
    assert len(engine.cache) == 1 and len(functions.encoded) == 1


def test_release_gives_everything_up(engine, functions):
    encode(engine, view(RAMP))
    engine.release()
    assert len(engine.cache) == 0 and engine.at_hand.model is None
    encode(engine, view(RAMP))
    assert functions.loaded == ["fake", "fake"]


def key(name: str) -> EmbeddingKey:
    return EmbeddingKey("digest", name, None, "cpu fp32")


def embedding(nbytes: int) -> SimpleNamespace:
    return SimpleNamespace(nbytes=nbytes)


def test_cache_gives_the_least_recently_used_up_first():
    cache = EmbeddingCache(budget_bytes=300)
    for name in "abc":
        cache.put(key(name), embedding(100))
    assert cache.get(key("a")) is not None  # now b is the oldest
    cache.put(key("d"), embedding(100))
    assert [name for name in "abcd" if cache.get(key(name)) is not None] == ["a", "c", "d"]
    assert cache.nbytes == 300


def test_cache_keeps_the_newest_even_if_it_is_too_large():
    cache = EmbeddingCache(budget_bytes=300)
    cache.put(key("small"), embedding(10))
    cache.put(key("huge"), embedding(1000))
    assert len(cache) == 1 and cache.get(key("huge")).nbytes == 1000
    cache.put(key("small"), embedding(10))
    assert len(cache) == 1 and cache.nbytes == 10


def test_cache_counts_a_key_once():
    cache = EmbeddingCache(budget_bytes=300)
    for nbytes in (100, 200, 50):
        cache.put(key("a"), embedding(nbytes))
    assert cache.nbytes == 50 and len(cache) == 1
    cache.clear()
    assert cache.nbytes == 0 and cache.get(key("a")) is None


def test_views_compare_by_what_the_encoder_would_see():
    assert view(RAMP) == view(RAMP + 1)  # pixels are told apart by their hash
    assert view(RAMP) != view(RAMP, version=1)
    assert view(RAMP) != view(RAMP, limits=(0.0, 1.0))
    assert view(RAMP).plane == PLANE
