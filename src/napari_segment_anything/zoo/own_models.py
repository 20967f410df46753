"""Models that were made here: kept beside the downloads, found again by the file's name."""

from __future__ import annotations

import re
from pathlib import Path

from .download import cache_folder

SUFFIX = ".safetensors"


def own_folder() -> Path:
    """Where models that were made here are kept."""
    return cache_folder() / "improved"


def own_models() -> list[Path]:
    """Their files, the newest first."""
    folder = own_folder()
    if not folder.is_dir():
        return []
    files = [p for p in folder.glob(f"*{SUFFIX}") if not p.name.startswith(".")]
    return sorted(files, key=lambda p: (-p.stat().st_mtime, p.name))


def keep(checkpoint: Path, parent: str, subject: str) -> Path:
    """Move a checkpoint among our own, as ``PARENT-SUBJECT`` and, if need be, a number.

    Args:
        checkpoint: a ``.safetensors`` file on the same disk, as in a folder inside of ours.
        parent: name or path of the model that it was made from. One of our own on the same
            subject is counted on from.
        subject: what it has learned from, in a word or two.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder = own_folder()
    folder.mkdir(parents=True, exist_ok=True)
    stem = _plain(Path(parent).name.removesuffix(SUFFIX).removesuffix(".pth").removesuffix(".pt"))
    ending = _plain(subject)
    base = re.sub(r"-\d+$", "", stem)
    name = base if base.endswith(f"-{ending}") else f"{stem}-{ending}"
    target, number = folder / f"{name}{SUFFIX}", 2
    while target.exists():
        target, number = folder / f"{name}-{number}{SUFFIX}", number + 1
    return checkpoint.replace(target)


def _plain(text: str) -> str:
    """A part of a file's name that every file system takes."""
    return re.sub(r"[^\w-]+", "_", text).strip("_")[:60] or "model"
