"""A model ready to answer prompts: network, name, and where and how it runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ..geometry.frames import ImageFrame
from ..modeling.conv_encoder import ConvEncoder
from ..modeling.fast_decoder import FastMaskDecoder
from ..modeling.sam import Sam
from ..modeling.unetr import UnetrDecoder
from .card import ModelCard
from .runtime import pick_precision, to_precision
from .windows import WindowGrid

ZOOM_AREA_PX = 1024 * 1024
MOST_ZOOM = 2.0
MOST_AREA_PX = 4096 * 4096

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Model:
    """``precision`` is what was picked (fp32, bf16, fp16); ``digest`` names the weights.

    ``source`` is the file that they came from, in full precision. ``automatic_decoder`` draws whole
    images, None if the model has none; ``decoder_source`` is its file if it came from another.
    """

    sam: Sam
    name: str
    device: torch.device
    precision: str
    digest: str
    card: ModelCard = field(default_factory=ModelCard)
    precision_reason: str = "as asked"
    source: Path | None = None
    automatic_decoder: UnetrDecoder | None = None
    decoder_source: Path | None = None

    @property
    def dtype(self) -> torch.dtype:
        """In which the encoder and the decoder's pixels are computed."""
        return next(self.sam.image_encoder.parameters()).dtype

    @cached_property
    def decoder(self) -> FastMaskDecoder:
        """The mask decoder, made ready for these weights at first use."""
        with torch.inference_mode():
            code = self.sam.prompt_encoder.get_dense_pe()
            return FastMaskDecoder(self.sam.mask_decoder, code, self.dtype)

    @property
    def encodes_any_size(self) -> bool:
        """True for a fully convolutional encoder, False for one with a fixed square."""
        return not self.sam.is_square

    @property
    def modes(self) -> tuple[str, ...]:
        """The ways of `AutoMaskSettings.mode` in which it can segment a whole image."""
        if self.automatic_decoder is not None:
            return ("auto", "decoder", "prompts", "grid")
        has_dense_head = isinstance(self.sam.image_encoder, ConvEncoder)
        return ("auto", "prompts", "grid") if has_dense_head else ("auto", "grid")

    @property
    def does_by_itself(self) -> tuple[str, ...]:
        """What ``auto`` stands for: one mode, or for `nano` prompts and then the grid."""
        if self.automatic_decoder is not None:
            return ("decoder",)
        asks_first = "prompts" in self.modes and self.card.least_foreground > 0
        return ("prompts", "grid") if asks_first else ("grid",)

    def frame_for(self, size_hw: tuple[int, int]) -> ImageFrame:
        """Where an image of ``size_hw`` pixels lies in what the encoder sees."""
        if not self.encodes_any_size:
            return ImageFrame.fit_square(size_hw, int(self.sam.image_encoder.img_size))  # type: ignore[arg-type]
        zoom = natural_zoom(size_hw)
        least = self.sam.prompt_encoder.input_image_size[0]
        multiple = int(self.sam.image_encoder.canvas_multiple)  # type: ignore[arg-type]
        frame = ImageFrame.fit_zoom(size_hw, zoom, multiple)
        canvas = (max(least, frame.canvas_hw[0]), max(least, frame.canvas_hw[1]))
        return ImageFrame(frame.size_hw, frame.resized_hw, canvas)

    def grid_for(self, frame: ImageFrame) -> WindowGrid:
        """The feature map of an image in ``frame``, and the decoder's windows on it."""
        side = self.sam.prompt_encoder.image_embedding_size[0]
        cell_px = self.sam.prompt_encoder.input_image_size[0] // side
        h, w = frame.canvas_hw
        return WindowGrid((h // cell_px, w // cell_px), cell_px, side)


def on_cpu(model: Model) -> Model:
    """The same model on the CPU, in the precision that suits it; the GPU is asked for nothing."""
    cpu = torch.device("cpu")
    choice = pick_precision("auto", cpu)
    sam = _cpu_copy(model.sam)
    decoder = None if model.automatic_decoder is None else _cpu_copy(model.automatic_decoder)
    to_precision(sam, choice.name, decoder)
    return replace(
        model,
        sam=sam,
        device=cpu,
        precision=choice.name,
        precision_reason=choice.reason,
        automatic_decoder=decoder,
    )


def _cpu_copy(module: Module) -> Module:
    """A copy on the CPU, made without a second one on the device."""
    tensors: dict[int, object] = {
        id(p): nn.Parameter(p.detach().cpu(), requires_grad=False) for p in module.parameters()
    }
    tensors.update((id(b), b.cpu()) for b in module.buffers())
    return copy.deepcopy(module, tensors)


def natural_zoom(size_hw: tuple[int, int]) -> float:
    """Model pixels per image pixel for a field that an encoder may see at any size.

    Small fields are enlarged, up to twice, so that an object of ten pixels has room; fields of
    a megapixel and more keep their pixels, up to 4096 x 4096, beyond which memory decides.
    """
    area = size_hw[0] * size_hw[1]
    zoom = min(MOST_ZOOM, max(1.0, (ZOOM_AREA_PX / area) ** 0.5))
    return float(min(zoom, (MOST_AREA_PX / area) ** 0.5))
