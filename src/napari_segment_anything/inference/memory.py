"""Memory that nothing uses any more goes back to the machine. Imports no torch."""

from __future__ import annotations

import ctypes
import gc
import sys
import traceback


def give_back() -> None:
    """Collect garbage, empty torch's GPU caches, and have glibc return the pages it keeps.

    Without the last a process that has let go of ``vit_b`` still holds 870 MiB instead of 350.
    """
    gc.collect()  # importing parts of torch leaves cycles of frames, which hold the first model
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def drop_locals(error: BaseException) -> None:
    """Forget what the frames of an error and of its causes hold, models and images among it.

    The traceback still says which lines they were in.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
