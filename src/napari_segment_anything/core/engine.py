"""Runs requests on a worker: model, embedding (encoded once), answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from ..config import ModelChoice
from ..geometry.planes import PlaneRef
from ..inference.out_of_memory import OutOfMemory, is_out_of_memory
from ..structures import Embedding, EmbeddingKey, MaskPrediction, Progress, Prompt
from .embedding_cache import EmbeddingCache
from .functions import Functions, Labels, PublicFunctions, Records
from .model_at_hand import ModelAtHand

if TYPE_CHECKING:
    from ..inference.model import Model


@dataclass(frozen=True)
class View:
    """What the encoder would see: one plane of an image, as it is shown, and the model.

    ``read`` gives the plane's pixels and is called on the worker; ``version`` changes with the
    data, so that a lazy array need not be read twice.
    """

    model: ModelChoice
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


@dataclass(frozen=True)
class RestRequest:
    """Give the model and its embeddings up until they are asked for."""


Work = EncodeRequest | MaskRequest | AutoMaskRequest
Request = Work | RestRequest
Answer = Embedding | MaskPrediction | tuple[Labels, Records] | None


class Engine:
    """Answers requests one at a time; used from one worker thread only.

    ``encode_count`` counts the embeddings that the image encoder has made for prompts.
    """

    def __init__(
        self, functions: Functions | None = None, cache: EmbeddingCache | None = None
    ) -> None:
        self.functions: Functions = functions or PublicFunctions()
        self.cache = EmbeddingCache() if cache is None else cache
        self.at_hand = ModelAtHand(self.functions, self.cache)
        self.encode_count = 0
        self._notices: list[str] = []
        self._hash_of_lazy: dict[tuple[int, PlaneRef], str] = {}

    @property
    def running(self) -> str | None:
        """How the model at hand runs: ``cpu · fp32: no native bf16 found on this CPU``."""
        model = self.at_hand.model
        if model is None:
            return None
        return f"{model.device} · {model.precision}: {model.precision_reason}"

    def run(self, request: Request, progress: Progress) -> Answer:
        """Answer one request; an exception raised by ``progress`` cancels it.

        Where memory runs out it is tried again with what is at hand put down, then on the CPU.

        Raises:
            OutOfMemory: the CPU's does not suffice either.
        """
        if isinstance(request, RestRequest):
            self.at_hand.put_down()
            return None
        return self._fitted(request, progress, [self._put_down, self._to_cpu, self._give_up])

    def take_notices(self) -> list[str]:
        """What the person should know of the work done since last time, in sentences."""
        notices, self._notices = self._notices, []
        return notices

    def _fitted(
        self, work: Work, progress: Progress, ways_out: Sequence[Callable[[View], None]]
    ) -> Answer:
        """The answer, if need be after ways out of a lack of memory have been taken."""
        try:
            return self._answer(work, progress)
        except Exception as error:
            if not ways_out or not is_out_of_memory(error):
                raise
        ways_out[0](work.view)  # beyond the handler: the error and what its frames hold are gone
        return self._fitted(work, progress, ways_out[1:])

    def _put_down(self, _view: View) -> None:
        self.at_hand.put_down()

    def _to_cpu(self, view: View) -> None:
        model = self.at_hand.model
        if model is not None and model.device.type == "cpu":
            self._give_up(view)
        self.at_hand.move_to_cpu(view.model)
        self._notices.append("The GPU ran out of memory: going on on the CPU.")

    def _give_up(self, view: View) -> None:
        self.at_hand.put_down()
        self._notices.clear()
        (h, w), name = view.size_hw, view.model.name
        raise OutOfMemory(
            f"Expected enough memory for {name!r} on {h} x {w} pixels, but the computer ran out "
            "of it; take a smaller image or model, fewer points per batch, or close programs."
        )

    def _answer(self, request: Work, progress: Progress) -> Answer:
        model = self.at_hand.get(request.view.model, progress)
        if isinstance(request, AutoMaskRequest):
            return self._segment(model, request, progress)
        embedding = self._embedding(model, request.view, progress)
        if isinstance(request, EncodeRequest):
            return embedding
        p = request.prompt
        return self.functions.predict(
            model, embedding, p.points_xy, p.point_labels, p.box_xyxy, p.mask
        )

    def _embedding(self, model: Model, view: View, progress: Progress) -> Embedding:
        pixels, digest = self._pixels(view)
        runs_as = f"{model.device} {model.precision}"
        key = EmbeddingKey(model.digest, digest, view.contrast_limits, runs_as)
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
        """Give models and embeddings up, for good."""
        self.at_hand.release()
