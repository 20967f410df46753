"""Heads that say something of every pixel, trained beside the prompts on the same embedding.

A kind of head joins a run here: `dense_heads` finds it, and says how it is trained. Its module may
be a part of the model, as `nano`'s is of the encoder, or stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ..modeling.conv_encoder import ConvEncoder
from ..modeling.sam import Sam
from .losses import dense_loss


@dataclass(frozen=True)
class DenseHead:
    """``loss(features, labels)`` of ``module``, which is trained also where the encoder is not.

    ``features`` (B, C, h, w) of crops with ``labels`` (B, S, S), 0 background.
    """

    name: str
    module: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]


def dense_heads(sam: Sam) -> list[DenseHead]:
    """The heads that a model has."""
    encoder = sam.image_encoder
    if not isinstance(encoder, ConvEncoder):
        return []

    def loss(features: Tensor, labels: Tensor) -> Tensor:
        # The head's maps have the size of low-res masks, four to a cell of the features.
        step = labels.shape[-1] // (4 * features.shape[-1])
        wanted = labels[:, ::step, ::step].to(features.device)
        return dense_loss(encoder.dense_head(features).float(), wanted)

    return [DenseHead("dense", encoder.dense_head, loss)]
