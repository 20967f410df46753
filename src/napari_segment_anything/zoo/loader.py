"""`load_model`: a name or a path -> a model ready to answer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import AutoMaskSettings
from ..inference.card import ModelCard
from ..inference.model import Model
from ..inference.runtime import pick_device, pick_precision, to_precision
from ..modeling.sizes import build_sam, without_init
from ..modeling.unetr import UnetrDecoder
from ..structures import Progress
from . import download, registry
from .checkpoint import Checkpoint, CheckpointError, read_checkpoint, read_decoder
from .registry import ModelEntry

BUILT_IN = "nano"
_SUFFIXES = (".pth", ".pt", ".safetensors")


def load_model(
    name_or_path: str | Path = BUILT_IN,
    device: str | torch.device = "auto",
    precision: str = "auto",
    *,
    progress: Progress | None = None,
) -> Model:
    """Load a model: the built-in one, one of the registry's, or a checkpoint file.

    Args:
        name_or_path: ``"nano"``, a name out of `registry.entries` (fetched on first use), or the
            path of an official, micro-sam or own checkpoint. A decoder for automatic segmentation
            is found in the file, or beside ``NAME.pt`` as ``NAME_decoder.pt``.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        progress: called as ``progress(done_bytes, total_bytes)`` while a file is fetched.

    Raises:
        ValueError: an unknown name, device or precision (the message lists what there is).
        CheckpointError: a file that is not what it should be.
    """
    where = pick_device(device)
    choice = pick_precision(precision, where)
    files = located(name_or_path, progress)
    checkpoint = read_checkpoint(files.model)
    card = card_of(checkpoint, files.model)
    with without_init():
        sam = build_sam(checkpoint.config)
    _fill(sam, checkpoint.state_dict)
    decoder = decoder_of(checkpoint, files.decoder)
    to_precision(sam, choice.name, decoder)
    return Model(
        sam.to(where),
        files.name,
        where,
        choice.name,
        checkpoint.digest,
        card,
        choice.reason,
        source=files.model,
        automatic_decoder=None if decoder is None else decoder.to(where),
        decoder_source=None if decoder is None else files.decoder,
    )


def built_in_path() -> Path:
    """The file of the built-in model inside the package."""
    return Path(str(resources.files(__package__) / "weights" / f"{BUILT_IN}.safetensors"))


@dataclass(frozen=True)
class Files:
    """What a model is called and where it lies; ``decoder`` is its decoder's own file, if any."""

    name: str
    model: Path
    decoder: Path | None = None


def located(name_or_path: str | Path, progress: Progress | None = None) -> Files:
    """A model's files, fetched if they are not here; arguments as of `load_model`.

    Raises:
        ValueError: an unknown name; the message lists what there is.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    is_path = isinstance(name_or_path, Path) or text.endswith(_SUFFIXES) or "/" in text
    if is_path or (text not in registry.names() and path.is_file()):
        beside = path.with_name(f"{path.stem}_decoder{path.suffix}")
        return Files(path.stem, path, beside if beside.is_file() else None)
    entry = registry.entry(text)
    if entry.kind == "builtin":
        return Files(entry.name, built_in_path())
    path = _local_or_fetched(entry, progress)
    return Files(entry.name, path, _decoder_file(entry, progress))


def _fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    module.load_state_dict(state, strict=True, assign=True)
    module.eval().requires_grad_(False)


def decoder_of(checkpoint: Checkpoint, decoder_path: Path | None) -> UnetrDecoder | None:
    """The decoder in the checkpoint, else in a file of its own; on the CPU, for inference."""
    state = checkpoint.decoder_state
    if state is None and decoder_path is not None:
        state = read_decoder(decoder_path, checkpoint.config)
    if state is None:
        return None
    with without_init():
        decoder = UnetrDecoder.fitting(state)
    _fill(decoder, state)
    return decoder


def _local_or_fetched(entry: ModelEntry, progress: Progress | None) -> Path:
    return download.find_local(entry) or download.fetch(entry, progress=progress)


def _decoder_file(entry: ModelEntry, progress: Progress | None) -> Path | None:
    """The file of a model's decoder; a model that is here serves clicks without it."""
    if entry.decoder is None:
        return None
    try:
        return _local_or_fetched(entry.decoder, progress)
    except download.DownloadError as error:
        warnings.warn(
            f"{entry.name} is loaded without its decoder: whole images are segmented by a grid of "
            f"points. {error}",
            stacklevel=4,
        )
        return None


def card_of(checkpoint: Checkpoint, path: Path) -> ModelCard:
    """The card in the metadata of the checkpoint ``path``: its description and settings."""
    raw = checkpoint.metadata.get("card")
    if raw is None:
        return ModelCard()
    try:
        card: dict[str, Any] = json.loads(raw)
        known = {k: v for k, v in card.get("automask", {}).items() if k in AutoMaskSettings.names()}
        checked = AutoMaskSettings.checked(known)
        least_foreground = float(card.get("least_foreground", 0.0))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected a model card with settings in range, got {raw[:200]!r} ({error})."
        ) from error
    settings = {name: getattr(checked, name) for name in known}
    return ModelCard(str(card.get("description", "")), settings, least_foreground)
