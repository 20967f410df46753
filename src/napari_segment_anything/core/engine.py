"""Runs requests on a worker: model, embedding (encoded once), answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from ..geometry.planes import PlaneRef
from ..structures import Embedding, EmbeddingKey, MaskPrediction, Progress, Prompt
from .dispatch import PutBack
from .embedding_cache import EmbeddingCache

if TYPE_CHECKING:
    from ..inference.card import ModelCard
    from ..inference.model import Model

Labels = NDArray[np.int32]
Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class View:
    """What the encoder would see: one plane of an image, as it is shown, and the model.

    ``read`` gives the plane's pixels and is called on the worker; ``version`` changes with the
    data, so that a lazy array need not be read twice.
    """

    model: str
    plane: PlaneRef
    size_hw: tuple[int, int]
    version: int
    contrast_limits: tuple[float, float] | None
    read: Callable[[], NDArray[Any]] = field(compare=False, repr=False)
    is_lazy: bool = False


@dataclass(frozen=True)
class EncodeRequest:
    """Encode a view ahead of the first prompt."""

    view: View


@dataclass(frozen=True)
class MaskRequest:
    """One object's prompt; ``serial`` tells an answer that has been overtaken."""

    view: View
    object_id: int
    serial: int
    prompt: Prompt


@dataclass(frozen=True)
class AutoMaskRequest:
    """Segment the whole view."""

    view: View
    settings: Mapping[str, Any]
    overwrite: bool


Request = EncodeRequest | MaskRequest | AutoMaskRequest
Answer = Embedding | MaskPrediction | tuple[Labels, Records]


class Functions(Protocol):
    """The four public functions that do the work."""

    def load_model(self, name: str, *, progress: Progress | None = None) -> Model:
        """See `zoo.loader.load_model`."""

    def encode(self, model: Model, image: Any, **options: Any) -> Embedding:
        """See `inference.predictor.encode`."""

    def predict(self, model: Model, embedding: Embedding, *prompt: Any) -> MaskPrediction:
        """See `inference.predictor.predict`."""

    def auto_mask(self, model: Model, image: Any, **options: Any) -> tuple[Labels, Records]:
        """See `automask.api.auto_mask`."""


class PublicFunctions:
    """`Functions` of this package, imported on the worker at first use: torch takes seconds."""

    def load_model(self, name: str, *, progress: Progress | None = None) -> Model:
        """See `zoo.loader.load_model`."""
        from ..zoo.loader import load_model

        return load_model(name, progress=progress)

    def encode(self, model: Model, image: Any, **options: Any) -> Embedding:
        """See `inference.predictor.encode`."""
        from ..inference.predictor import encode

        return encode(model, image, **options)

    def predict(self, model: Model, embedding: Embedding, *prompt: Any) -> MaskPrediction:
        """See `inference.predictor.predict`."""
        from ..inference.predictor import predict

        return predict(model, embedding, *prompt)

    def auto_mask(self, model: Model, image: Any, **options: Any) -> tuple[Labels, Records]:
        """See `automask.api.auto_mask`."""
        from ..automask.api import auto_mask

        return auto_mask(model, image, **options)


class Engine:
    """Answers requests one at a time; used from one worker thread only.

    ``encode_count`` counts the embeddings that the image encoder has made for prompts.
    ``used_name`` is the model that answered last, ``failed_model`` the last that could not be
    loaded.
    """

    def __init__(
        self, functions: Functions | None = None, cache: EmbeddingCache | None = None
    ) -> None:
        self.functions: Functions = functions or PublicFunctions()
        self.cache = EmbeddingCache() if cache is None else cache
        self.encode_count = 0
        self._model: Model | None = None
        self._model_name: str | None = None
        self._used: Model | None = None
        self.used_name: str | None = None
        self.failed_model: str | None = None
        self._given: dict[str, Model] = {}
        self._hash_of_lazy: dict[tuple[int, PlaneRef], str] = {}

    def offer(self, model: Model) -> str:
        """Use a loaded model under its name from now on; returns the name to ask for."""
        name = f"{model.name} ({model.digest[:8]})"
        self._given[name] = model
        return name

    @property
    def card(self) -> ModelCard | None:
        """Card of the model used last; None before one is loaded."""
        return None if self._used is None else self._used.card

    def run(self, request: Request, progress: Progress) -> Answer:
        """Answer one request; an exception raised by ``progress`` cancels it."""
        model = self._used = self.model(request.view.model, progress)
        self.used_name = request.view.model
        if isinstance(request, AutoMaskRequest):
            return self._segment(model, request, progress)
        embedding = self._embedding(model, request.view, progress)
        if isinstance(request, EncodeRequest):
            return embedding
        p = request.prompt
        return self.functions.predict(
            model, embedding, p.points_xy, p.point_labels, p.box_xyxy, p.mask
        )

    def model(self, name: str, progress: Progress | None = None) -> Model:
        """The model called ``name``, loaded if it is not the one at hand."""
        if name in self._given:
            return self._given[name]
        if self._model is None or self._model_name != name:
            try:
                loaded = self.functions.load_model(name, progress=progress)
            except PutBack:
                raise
            except Exception:
                self.failed_model = name
                raise
            self._model, self._model_name, self.failed_model = loaded, name, None
        return self._model

    def _embedding(self, model: Model, view: View, progress: Progress) -> Embedding:
        pixels, digest = self._pixels(view)
        key = EmbeddingKey(model.digest, digest, view.contrast_limits)
        known = self.cache.get(key)
        if known is not None:
            return known
        if pixels is None:
            pixels = view.read()
        embedding = self.functions.encode(
            model, pixels, contrast_limits=view.contrast_limits, progress=progress
        )
        self.encode_count += 1
        self.cache.put(key, embedding)
        return embedding

    def _pixels(self, view: View) -> tuple[NDArray[Any] | None, str]:
        """The plane's hash, and its pixels if they had to be read for it."""
        place = (view.version, view.plane)
        if view.is_lazy and place in self._hash_of_lazy:
            return None, self._hash_of_lazy[place]
        pixels = view.read()
        content = xxhash.xxh3_128(np.ascontiguousarray(pixels).data)
        digest = f"{pixels.shape} {pixels.dtype} {content.hexdigest()}"
        if view.is_lazy:
            self._hash_of_lazy[place] = digest
        return pixels, digest

    def _segment(
        self, model: Model, request: AutoMaskRequest, progress: Progress
    ) -> tuple[Labels, Records]:
        """Segment everything; the embedding serves again unless crops are wanted."""
        view, settings = request.view, dict(request.settings)
        crops = settings.get("crop_n_layers", model.card.automask.get("crop_n_layers", 0))
        if not crops:
            embedding = self._embedding(model, view, progress)
            return self.functions.auto_mask(model, embedding, progress=progress, **settings)
        limits = view.contrast_limits
        return self.functions.auto_mask(
            model, view.read(), contrast_limits=limits, progress=progress, **settings
        )

    def release(self) -> None:
        """Give models and embeddings up."""
        self._model = self._model_name = self._used = None
        self._given.clear()
        self.cache.clear()
