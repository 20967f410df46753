"""The model that a run starts from: its weights as they lie in a file, in full precision."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..inference.model import Model
from ..inference.runtime import pick_device
from ..modeling.sam import Sam
from ..modeling.sizes import SamConfig, build_sam, without_init
from ..zoo.checkpoint import read_checkpoint
from ..zoo.loader import resolve


@dataclass(frozen=True)
class Base:
    """``sam`` in fp32 on ``device``, and what its file says of it."""

    sam: Sam
    config: SamConfig
    name: str
    digest: str
    card: dict[str, Any]
    device: torch.device


def base_of(model: Model | str | Path, device: str) -> Base:
    """A model anew from its file, so that training changes no model that somebody uses.

    Args:
        model: from `load_model`, or what that takes.
        device: as `pick_device` takes it; auto is the device of a loaded model.

    Raises:
        ValueError: a model without a file, or whose file has changed since it was loaded.
    """
    if isinstance(model, Model):
        if model.source is None:
            raise ValueError(
                f"Expected a model that came from a file, got {model.name!r}, which did not; write "
                "it with zoo.checkpoint.write_checkpoint and give the path."
            )
        name, path = model.name, model.source
        where = model.device if device == "auto" else pick_device(device)
    else:
        where = pick_device(device)
        name, path = resolve(model)
    checkpoint = read_checkpoint(path)
    if isinstance(model, Model) and checkpoint.digest != model.digest:
        raise ValueError(f"Expected {path} as {name!r} was loaded from it, but it has changed.")
    with without_init():
        sam = build_sam(checkpoint.config)
    sam.load_state_dict(checkpoint.state_dict, strict=True, assign=True)
    if not sam.is_square:  # convolutions run faster on channels-last tensors
        sam.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    metadata = checkpoint.metadata
    card = json.loads(metadata.get("card", "{}"))
    sam = sam.eval().to(where, torch.float32)
    known_as = metadata.get("name", name)  # a run's checkpoints are all called best or last
    return Base(sam, checkpoint.config, known_as, checkpoint.digest, card, where)
