"""The one model at hand and the embeddings it has made: they come and go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config import ModelChoice
from ..inference.memory import give_back
from ..structures import Progress
from .dispatch import PutBack
from .embedding_cache import EmbeddingCache

if TYPE_CHECKING:
    from ..inference.model import Model
    from .functions import Functions


class ModelAtHand:
    """Loads a model when it is asked for, and puts it down for the next one.

    ``used`` is the choice whose model is at hand, ``failed`` the last one that could not be
    loaded. Models handed in with `offer` could not be loaded again: they stay until `release`.
    """

    def __init__(self, functions: Functions, embeddings: EmbeddingCache) -> None:
        self.embeddings = embeddings
        self.model: Model | None = None
        self.used: ModelChoice | None = None
        self.failed: ModelChoice | None = None
        self._functions = functions
        self._given: dict[str, Model] = {}
        self._does_not_fit: ModelChoice | None = None

    def offer(self, model: Model) -> str:
        """Use a loaded model under its name from now on; returns the name to ask for."""
        name = f"{model.name} ({model.digest[:8]}, {model.device}, {model.precision})"
        self._given[name] = model
        return name

    def is_given(self, name: str) -> bool:
        """True for a model that was handed in, which runs as it was loaded."""
        return name in self._given

    def get(self, choice: ModelChoice, progress: Progress | None = None) -> Model:
        """The chosen model; the one before is put down once this one is there."""
        if self.model is not None and self.used == choice:
            return self.model
        model = self._fetched(choice, progress)
        if not self.is_empty:
            self.put_down()
        self.model, self.used = model, choice
        return model

    def _fetched(self, choice: ModelChoice, progress: Progress | None) -> Model:
        device, precision = choice.device, choice.precision
        fits = choice != self._does_not_fit
        if choice.name in self._given:
            model = self._given[choice.name]
            return model if fits else self._functions.on_cpu(model)
        if not fits:
            device, precision = "cpu", "auto"
        try:
            model = self._functions.load_model(choice.name, device, precision, progress=progress)
        except PutBack:
            raise
        except Exception:
            self.failed = choice
            raise
        self.failed = None
        return model

    def move_to_cpu(self, choice: ModelChoice) -> None:
        """Have a model that does not fit into the GPU's memory run on the CPU, until put down."""
        self.put_down()
        self._does_not_fit = choice

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to put down."""
        return self.model is None and len(self.embeddings) == 0

    def put_down(self) -> None:
        """Give the model and its embeddings up until they are asked for."""
        self.model = self.used = self._does_not_fit = None
        self.embeddings.clear()
        give_back()

    def release(self) -> None:
        """Give everything up, for good."""
        self._given.clear()
        self.put_down()
