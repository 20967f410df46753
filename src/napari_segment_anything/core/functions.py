"""The functions that do an engine's work: the contract, and this package's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..structures import Embedding, MaskPrediction, Progress

if TYPE_CHECKING:
    from ..inference.model import Model

Labels = NDArray[np.int32]
Records = Sequence[Mapping[str, Any]]


class Functions(Protocol):
    """The four public functions that do the work, and the way to the CPU."""

    def load_model(
        self, name: str, device: str, precision: str, *, progress: Progress | None = None
    ) -> Model:
        """See `zoo.loader.load_model`."""

    def on_cpu(self, model: Model) -> Model:
        """See `inference.model.on_cpu`."""

    def encode(self, model: Model, image: Any, **options: Any) -> Embedding:
        """See `inference.predictor.encode`."""

    def predict(self, model: Model, embedding: Embedding, *prompt: Any) -> MaskPrediction:
        """See `inference.predictor.predict`."""

    def auto_mask(self, model: Model, image: Any, **options: Any) -> tuple[Labels, Records]:
        """See `automask.api.auto_mask`."""


class PublicFunctions:
    """`Functions` of this package, imported on the worker at first use: torch takes seconds."""

    def load_model(
        self, name: str, device: str, precision: str, *, progress: Progress | None = None
    ) -> Model:
        """See `zoo.loader.load_model`."""
        from ..zoo.loader import load_model

        return load_model(name, device, precision, progress=progress)

    def on_cpu(self, model: Model) -> Model:
        """See `inference.model.on_cpu`."""
        from ..inference.model import on_cpu

        return on_cpu(model)

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
