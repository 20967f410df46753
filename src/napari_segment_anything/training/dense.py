"""Heads that say something of every pixel, trained beside the prompts on the same embedding.

A kind of head joins a run here: `dense_heads` finds it, and says how it is trained. Its module may
be a part of the model, as `nano`'s is of the encoder, or stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..modeling.conv_encoder import ConvEncoder
from ..modeling.sam import Sam
from ..modeling.unetr import UnetrDecoder
from .distance_targets import distance_loss, distance_targets
from .losses import dense_loss, dense_targets
from .settings import FitSettings


@dataclass(frozen=True)
class DenseHead:
    """``loss(features, labels)`` of ``module``, which is trained also where the encoder is not.

    ``features`` (B, C, h, w) of crops with ``labels`` (B, S, S), 0 background.
    """

    name: str
    module: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]


def dense_heads(sam: Sam, decoder: UnetrDecoder | None = None) -> list[DenseHead]:
    """The heads of a model and of its automatic decoder, where it is to learn along."""
    heads = []
    if isinstance(sam.image_encoder, ConvEncoder):
        head = sam.image_encoder.dense_head
        heads.append(DenseHead("dense", head, lambda x, labels: _dense_loss(head, x, labels)))
    if decoder is not None:
        heads.append(
            DenseHead("decoder", decoder, lambda x, labels: _decoder_loss(decoder, x, labels))
        )
    return heads


def chosen_decoder(
    decoder: UnetrDecoder | None, sam: Sam, settings: FitSettings
) -> UnetrDecoder | None:
    """The automatic decoder that a run's checkpoints have: the model's ``decoder``, or a new one.

    Raises:
        ValueError: a new one is asked for that would stand beside `nano`'s dense head.
    """
    if decoder is not None or settings.automatic_decoder != "add":
        return decoder
    if not sam.is_square:
        raise ValueError(
            "Expected automatic_decoder 'auto' or 'keep' for a model of nano's kind, got 'add': it "
            "has a dense head that does the same; train a ViT for a decoder."
        )
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        # Batch norms stay out of training: a new one's do nothing but scale and shift.
        return UnetrDecoder(sam.prompt_encoder.embed_dim).eval()


def _dense_loss(head: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
    logits = head(features).float()
    return dense_loss(logits, dense_targets(_at_size(labels, logits)).to(logits.device))


def _decoder_loss(decoder: UnetrDecoder, features: Tensor, labels: Tensor) -> Tensor:
    maps = decoder(features).float()
    planes = _at_size(labels, maps).cpu().numpy()
    targets = torch.from_numpy(np.stack([distance_targets(plane) for plane in planes]))
    return distance_loss(maps, targets.to(maps.device))


def _at_size(labels: Tensor, maps: Tensor) -> Tensor:
    """(B, S, S) -> (B, s, s), one label a pixel of ``maps`` (B, C, s, s)."""
    step = labels.shape[-1] // maps.shape[-1]
    return labels[:, ::step, ::step]
