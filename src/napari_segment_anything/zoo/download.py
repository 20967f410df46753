"""Weights on disk: found where this or another tool left them, or fetched and verified."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pooch
import requests
import xxhash

from ..structures import Progress
from .registry import ModelEntry

CACHE_VARIABLE = "NAPARI_SEGMENT_ANYTHING_CACHE"
_BLOCK = 1 << 20


class DownloadError(RuntimeError):
    """A file that could not be fetched or is not what it should be."""


def cache_folder() -> Path:
    """Where fetched weights are kept: ``$NAPARI_SEGMENT_ANYTHING_CACHE``, or the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path(pooch.os_cache("napari-segment-anything-models"))


def cached_path(entry: ModelEntry) -> Path:
    """Where ``entry`` is, or would be, in our cache."""
    return cache_folder() / f"{entry.name}.pth"


def find_local(entry: ModelEntry) -> Path | None:
    """The entry's file, if it is on this disk: in our cache, or whole in another tool's.

    Files are believed by their hash only, ours too: a person may have put one there by hand.
    """
    for path in (cached_path(entry), *_elsewhere(entry)):
        if path.is_file() and _mismatch(entry, path) is None:
            return path
    return None


def is_present(entry: ModelEntry) -> bool:
    """Whether a file of the entry's name is on this disk; quick, its hash is not looked at."""
    if entry.kind == "builtin":
        return True
    return any(path.is_file() for path in (cached_path(entry), *_elsewhere(entry)))


def _elsewhere(entry: ModelEntry) -> Iterator[Path]:
    """Places where micro-sam, napari-sam, SAM4IS and torch.hub keep the same files."""
    file_name = (entry.url or "").rsplit("/", 1)[-1]
    micro_sam = os.environ.get("MICROSAM_CACHEDIR") or pooch.os_cache("micro_sam")
    yield Path(micro_sam) / "models" / entry.name
    if entry.kind == "official":
        home_cache = Path.home() / ".cache"
        yield home_cache / "napari-segment-anything" / file_name
        yield home_cache / "napari-SAM4IS" / file_name
        yield home_cache / "torch" / "hub" / "checkpoints" / file_name


def fetch(entry: ModelEntry, progress: Progress | None = None) -> Path:
    """Download ``entry`` into our cache and verify it; the file appears whole or not at all.

    ``progress(done_bytes, total_bytes)`` is called as it comes in; an exception raised in it
    cancels, and leaves nothing behind.

    Raises:
        DownloadError: no connection, or a file with another hash; says what to do.
        ValueError: an entry that has no download.
    """
    if entry.url is None:
        raise ValueError(f"Expected a model with a download, got {entry.name!r}.")
    target = cached_path(entry)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"Expected a cache folder at {target.parent}, but it cannot be made ({error}); set "
            f"{CACHE_VARIABLE} to a folder of your own."
        ) from error
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
        partial = Path(folder) / "weights"
        bar = _ProgressBar(progress, (entry.size_mb or 0) * 1_000_000)
        downloader = pooch.HTTPDownloader(progressbar=bar, timeout=30, chunk_size=_BLOCK)
        try:
            # Not pooch.retrieve: it would hash the file once more and log to the terminal.
            downloader(entry.url, str(partial), None)
        except (requests.RequestException, OSError) as error:
            if error is bar.cancelled_by:
                raise
            there = "the file there has another hash" if target.is_file() else "no file is there"
            raise DownloadError(
                f"Expected to download {entry.name} ({entry.size_mb} MB) from {entry.url}, but "
                f"the connection failed ({type(error).__name__}). Work offline with 'nano', or "
                f"put the file at {target} yourself ({there})."
            ) from error
        problem = _mismatch(entry, partial)
        if problem is not None:
            raise DownloadError(f"{entry.name} from {entry.url}: {problem}; nothing was kept.")
        partial.replace(target)
    return target


def _mismatch(entry: ModelEntry, path: Path) -> str | None:
    """What is wrong with a file's hash, or None. xxh128 counts only where no sha256 is known."""
    with path.open("rb") as stream:
        if entry.sha256:
            wanted, found = entry.sha256, hashlib.file_digest(stream, "sha256").hexdigest()
        elif entry.xxh128:
            digest = xxhash.xxh128()
            while block := stream.read(_BLOCK):
                digest.update(block)
            wanted, found = entry.xxh128, digest.hexdigest()
        else:
            return "expected a known hash, this model has none"
    if found == wanted:
        return None
    return f"expected {'sha256' if entry.sha256 else 'xxh128'} {wanted}, found {found}"


class _ProgressBar:
    """What pooch wants of a progress bar, told to a callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self.total = total
        self._done = 0
        self.cancelled_by: Exception | None = None

    def update(self, count: int) -> None:
        self._done += count
        # pooch counts whole blocks, of which the last one is not full.
        done = min(self._done, self.total) if self.total else self._done
        total = max(self.total, done)
        if self._progress is None or total == 0:
            return
        try:
            self._progress(done, total)
        except Exception as error:
            self.cancelled_by = error
            raise

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Nothing to close."""
