"""Memory ran out: which errors say so, and work in batches that fit. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .memory import give_back

Answer = TypeVar("Answer")

# CUDA's and MPS' allocators; the CPU's on Linux and macOS, and on Windows; CUDA's libraries.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


class OutOfMemory(RuntimeError):
    """Nothing is left to try; the message says what a person can do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, the GPU's or the machine's."""
    if isinstance(error, MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


class FittingBatches:
    """Does work on points in batches; where memory runs out, in halves from then on.

    ``most`` is the number of points that may go at once, None until memory has run out.
    """

    def __init__(self) -> None:
        self.most: int | None = None

    def run(
        self, work: Callable[[NDArray[Any]], Answer], points_xy: NDArray[np.floating]
    ) -> Iterator[Answer]:
        """``work`` of all of (N, 2) points, part by part in their order.

        Raises:
            Exception: what ``work`` raises, but for memory that runs out with several points.
        """
        while len(points_xy):
            part = points_xy[: self.most]
            try:
                answer = work(part)
            except Exception as error:
                if len(part) == 1 or not is_out_of_memory(error):
                    raise
                self.most = len(part) // 2
            else:
                yield answer
                points_xy = points_xy[len(part) :]
                continue
            give_back()  # beyond the handler, where the error and what its frames hold are gone
