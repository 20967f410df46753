"""`load_model`: a name or a path -> a model ready to answer."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from ..config import AutoMaskSettings
from ..inference.card import ModelCard
from ..inference.model import Model
from ..inference.runtime import pick_device, pick_precision, to_precision
from ..modeling.sizes import build_sam, without_init
from ..structures import Progress
from . import download, registry
from .checkpoint import Checkpoint, CheckpointError, read_checkpoint

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
            path of an official, micro-sam or own checkpoint.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        progress: called as ``progress(done_bytes, total_bytes)`` while a file is fetched.

    Raises:
        ValueError: an unknown name, device or precision (the message lists what there is).
        CheckpointError: a file that is not what it should be.
    """
    where = pick_device(device)
    choice = pick_precision(precision, where)
    name, path = resolve(name_or_path, progress)
    checkpoint = read_checkpoint(path)
    card = card_of(checkpoint, path)
    with without_init():
        sam = build_sam(checkpoint.config)
    sam.load_state_dict(checkpoint.state_dict, strict=True, assign=True)
    to_precision(sam.eval().requires_grad_(False), choice.name).to(where)
    return Model(sam, name, where, choice.name, checkpoint.digest, card, choice.reason, source=path)


def built_in_path() -> Path:
    """The file of the built-in model inside the package."""
    return Path(str(resources.files(__package__) / "weights" / f"{BUILT_IN}.safetensors"))


def resolve(name_or_path: str | Path, progress: Progress | None = None) -> tuple[str, Path]:
    """Name and file of a model, fetched if it is not here; arguments as of `load_model`.

    Raises:
        ValueError: an unknown name; the message lists what there is.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    is_path = isinstance(name_or_path, Path) or text.endswith(_SUFFIXES) or "/" in text
    if is_path or (text not in registry.names() and path.is_file()):
        return path.stem, path
    entry = registry.entry(text)
    if entry.kind == "builtin":
        return entry.name, built_in_path()
    return entry.name, download.find_local(entry) or download.fetch(entry, progress=progress)


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
