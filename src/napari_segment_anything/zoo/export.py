"""A model's weights as other tools read them."""

from __future__ import annotations

from pathlib import Path

import torch

from ..io.writing import whole_file
from ..modeling.conv_encoder import ConvEncoder
from ..modeling.sam import Sam

PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")


def is_exportable(sam: Sam) -> bool:
    """Whether other tools know this kind of model; nobody else reads `nano`'s."""
    return not isinstance(sam.image_encoder, ConvEncoder)


def export_weights(path: Path, sam: Sam) -> None:
    """Write a flat dict of fp32 tensors, named as in the official files; whole or not at all.

    ``segment_anything``'s and micro-sam's loaders read it as ``vit_b``, ``vit_l`` or ``vit_h``,
    MobileSAM's as ``vit_t``.

    Raises:
        ValueError: a model with `nano`'s encoder.
    """
    if not is_exportable(sam):
        raise ValueError(
            "Expected a ViT or TinyViT model to export, got one of nano's kind: this package alone "
            "reads it, from its .safetensors file."
        )
    state = {
        name: tensor.detach().to("cpu", torch.float32).contiguous().clone()
        for name, tensor in sam.state_dict().items()
        if name.startswith(PARTS)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        torch.save(state, partial)
