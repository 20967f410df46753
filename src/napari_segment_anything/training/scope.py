"""Which weights of a model a run changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..modeling.image_encoder import ImageEncoderViT
from ..modeling.lora import add_lora
from ..modeling.sam import Sam
from .dense import DenseHead
from .settings import FitSettings


def choose_trained(sam: Sam, settings: FitSettings, heads: Sequence[DenseHead]) -> None:
    """Let exactly those parameters of ``sam`` have gradients that the run changes.

    ``decoder``: prompt encoder, mask decoder and dense heads. ``lora``: also adapters, which are
    put on the encoder's attention. ``all``: every parameter.

    Raises:
        ValueError: adapters for an encoder without attention.
    """
    encoder = sam.image_encoder
    sam.requires_grad_(settings.what == "all")
    for part in (sam.prompt_encoder, sam.mask_decoder, *(head.module for head in heads)):
        part.requires_grad_(True)
    if settings.what == "lora":
        add_lora(
            encoder, settings.lora_rank, generator=torch.Generator().manual_seed(settings.seed)
        )
    if isinstance(encoder, ImageEncoderViT):
        encoder.recomputes_blocks = settings.recompute
        encoder.set_drop_path(settings.drop_path if settings.what == "all" else 0.0)


def set_training(sam: Sam, training: bool) -> None:
    """Training mode for what behaves otherwise in it, but for batch norms.

    Their statistics stay those of the first training: a handful of crops has worse ones.
    """
    sam.eval()
    if training and isinstance(sam.image_encoder, ImageEncoderViT):
        sam.image_encoder.train()


def trained_parameters(sam: Sam, heads: Sequence[DenseHead] = ()) -> dict[str, nn.Parameter]:
    """The parameters that the run changes, by name; a head's that are not the model's, too."""
    named = [*sam.named_parameters()]
    for head in heads:
        named += ((f"{head.name}.{name}", p) for name, p in head.module.named_parameters())
    once = {id(p): (name, p) for name, p in reversed(named) if p.requires_grad}
    return dict(reversed(once.values()))
