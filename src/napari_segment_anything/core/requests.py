"""What a session asks of the engine, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..geometry.planes import PlaneRef
from ..structures import MaskPrediction
from .layer_prompts import PlanePrompt

if TYPE_CHECKING:
    from ..inference.model import Model

ModelRef: TypeAlias = "str | Model"
"""A model's name or path, or the loaded model."""

Report = Callable[[str, int, int], None]
"""``report(what, done, total)``; raises `Cancelled` once the answer is no longer wanted."""


class Cancelled(Exception):  # noqa: N818 - not an error: somebody said stop
    """Raised inside the work whose answer nobody waits for any more."""


class ModelUnavailable(RuntimeError):
    """A model could not be loaded; the message says why and what to do."""


def name_of(model: ModelRef) -> str:
    """The name under which a person knows the model."""
    return model if isinstance(model, str) else model.name


@dataclass(frozen=True, eq=False)
class View:
    """What the encoder is to see: a plane of ``data``, stretched by ``contrast_limits``.

    ``source`` stands for one state of the data: a new object whenever the data is replaced.
    """

    data: Any
    plane: PlaneRef
    contrast_limits: tuple[float, float] | None
    source: object

    @property
    def identity(self) -> tuple[object, PlaneRef, tuple[float, float] | None]:
        """Equal for two views that show an encoder the same, as far as is known unread."""
        return self.source, self.plane, self.contrast_limits

    @property
    def is_lazy(self) -> bool:
        """True if reading the plane may be slow, and the data is not changed in place."""
        return not isinstance(self.data, np.ndarray)

    def moved_to(self, plane: PlaneRef) -> View:
        """The same image, another plane."""
        return self if plane == self.plane else replace(self, plane=plane)


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """Work for the engine: encode this view with this model. ``cancelled`` is set to stop it."""

    view: View
    model: ModelRef
    cancelled: Event = field(default_factory=Event)

    @property
    def target(self) -> tuple[object, ...]:
        """Equal for requests that need the same embedding."""
        model = self.model if isinstance(self.model, str) else id(self.model)
        return (model, *self.view.identity)

    def with_model(self, model: ModelRef) -> Request:
        """The same request of another model."""
        return replace(self, model=model, cancelled=Event())


@dataclass(frozen=True, eq=False, kw_only=True)
class LiveRequest(Request):
    """The mask of the object being marked. ``number`` grows with every change of the marks."""

    prompt: PlanePrompt
    number: int


@dataclass(frozen=True, eq=False, kw_only=True)
class CommitRequest(Request):
    """The mask of a finished object. ``rank`` counts candidates from the best one down."""

    prompt: PlanePrompt
    rank: int = 0
    overwrite: bool = False
    known: MaskPrediction | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class AutoMaskRequest(Request):
    """Everything in the plane, with values of `AutoMaskSettings` by name."""

    settings: Mapping[str, Any]
    overwrite: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """``prediction`` for a prompt; ``labels`` (H, W) and ``records`` for automatic masks."""

    model: Model
    prediction: MaskPrediction | None = None
    labels: NDArray[np.int32] | None = None
    records: Sequence[Mapping[str, Any]] = ()
