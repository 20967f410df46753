"""`load_model`: a name or a path -> a model ready to answer."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from ..config import AutoMaskSettings
from ..inference.card import ModelCard
from ..inference.model import Model
from ..inference.runtime import pick_device, pick_precision
from ..modeling.sizes import build_sam
from ..structures import Progress
from . import download, registry
from .checkpoint import Checkpoint, CheckpointError, read_checkpoint

BUILT_IN = "nano"
_SUFFIXES = (".pth", ".pt", ".safetensors")


def load_model(
    name_or_path: str | Path = BUILT_IN,
    device: str = "auto",
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
    name, path = _resolve(name_or_path, progress)
    checkpoint = read_checkpoint(path)
    sam = build_sam(checkpoint.config)
    sam.load_state_dict(checkpoint.state_dict, strict=True)
    sam.eval().requires_grad_(False).to(where)
    return Model(
        sam, name, where, choice.name, checkpoint.digest, card_of(checkpoint), choice.reason
    )


def built_in_path() -> Path:
    """The file of the built-in model inside the package."""
    return Path(str(resources.files(__package__) / "weights" / f"{BUILT_IN}.safetensors"))


def _resolve(name_or_path: str | Path, progress: Progress | None) -> tuple[str, Path]:
    text = str(name_or_path)
    looks_like_path = isinstance(name_or_path, Path) or text.endswith(_SUFFIXES) or "/" in text
    if looks_like_path:
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise CheckpointError(f"Expected a checkpoint file at {path}, found none.")
        return path.stem, path
    entry = registry.entry(text)
    if entry.kind == "builtin":
        return entry.name, built_in_path()
    return entry.name, download.find_local(entry) or download.fetch(entry, progress=progress)


def card_of(checkpoint: Checkpoint) -> ModelCard:
    """The card in a checkpoint's metadata: its description and automatic-mask settings."""
    raw = checkpoint.metadata.get("card")
    if raw is None:
        return ModelCard()
    try:
        card: dict[str, Any] = json.loads(raw)
        automask = dict(card.get("automask", {}))
        least_foreground = float(card.get("least_foreground", 0.0))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"Expected the model card as a JSON object, got {raw!r}.") from error
    known = set(AutoMaskSettings.names())
    settings = {k: v for k, v in automask.items() if k in known}
    return ModelCard(str(card.get("description", "")), settings, least_foreground)
