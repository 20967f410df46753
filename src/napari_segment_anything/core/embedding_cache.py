"""Embeddings kept in memory, the least recently used given up first."""

from __future__ import annotations

from collections import OrderedDict

from ..structures import Embedding, EmbeddingKey

DEFAULT_BUDGET_BYTES = 1 << 30


class EmbeddingCache:
    """At most ``budget_bytes`` of embeddings, but always the newest one."""

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self.budget_bytes = budget_bytes
        self._kept: OrderedDict[EmbeddingKey, Embedding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """The embedding of ``key``, now the most recently used; None if it is not here."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: EmbeddingKey, embedding: Embedding) -> None:
        """Keep an embedding; the oldest go until the budget holds."""
        self._kept[key] = embedding
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self.nbytes > self.budget_bytes:
            self._kept.popitem(last=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all embeddings kept."""
        return sum(e.nbytes for e in self._kept.values())

    def clear(self) -> None:
        """Give everything up."""
        self._kept.clear()
