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
from ..modeling.unetr import UnetrDecoder
from ..zoo.checkpoint import file_digest, read_checkpoint
from ..zoo.loader import Files, decoder_of, located


@dataclass(frozen=True)
class Base:
    """``sam`` in fp32 on ``device``, and what its file says of it.

    ``decoder`` draws whole images, None if the model has none; ``decoder_digest`` is its file's if
    it came from another.
    """

    sam: Sam
    config: SamConfig
    name: str
    digest: str
    card: dict[str, Any]
    device: torch.device
    decoder: UnetrDecoder | None = None
    decoder_digest: str | None = None


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
        files = Files(model.name, model.source, model.decoder_source)
        where = model.device if device == "auto" else pick_device(device)
    else:
        where = pick_device(device)
        files = located(model)
    checkpoint = read_checkpoint(files.model)
    if isinstance(model, Model) and checkpoint.digest != model.digest:
        raise ValueError(
            f"Expected {files.model} as {files.name!r} was loaded from it, but it has changed."
        )
    with without_init():
        sam = build_sam(checkpoint.config)
    sam.load_state_dict(checkpoint.state_dict, strict=True, assign=True)
    if not sam.is_square:  # convolutions run faster on channels-last tensors
        sam.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    metadata = checkpoint.metadata
    card = json.loads(metadata.get("card", "{}"))
    sam = sam.eval().to(where, torch.float32)
    known_as = metadata.get("name", files.name)  # a run's files are all called best or last
    decoder = decoder_of(checkpoint, files.decoder)
    if decoder is not None:
        decoder = decoder.to(where, torch.float32)
    digest = None if files.decoder is None else file_digest(files.decoder)
    return Base(sam, checkpoint.config, known_as, checkpoint.digest, card, where, decoder, digest)
