"""A model's weights as other tools read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..io.writing import whole_file
from ..modeling.conv_encoder import ConvEncoder
from ..modeling.sam import Sam
from ..modeling.unetr import UnetrDecoder

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
    _write(path, _model_state(sam))


def export_for_micro_sam(path: Path, sam: Sam, decoder: UnetrDecoder) -> None:
    """Write a model and its automatic decoder as micro-sam keeps a training's result.

    Raises:
        ValueError: a model with `nano`'s encoder.
    """
    state = {"model_state": _model_state(sam), "decoder_state": _plain(decoder.state_dict())}
    _write(path, state)


def _model_state(sam: Sam) -> dict[str, Tensor]:
    if not is_exportable(sam):
        raise ValueError(
            "Expected a ViT or TinyViT model to export, got one of nano's kind: this package alone "
            "reads it, from its .safetensors file."
        )
    return _plain({k: v for k, v in sam.state_dict().items() if k.startswith(PARTS)})


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU that share no memory, numbers with a fraction as fp32."""
    out = {}
    for name, tensor in state.items():
        kind = torch.float32 if tensor.is_floating_point() else tensor.dtype
        out[name] = tensor.detach().to("cpu", kind).contiguous().clone()
    return out


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        torch.save(dict(content), partial)
