"""Sizes of the models, as values; a checkpoint of our own carries them as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .conv_encoder import ConvEncoder
from .dense_prompts import DensePromptEncoder, FusionBlock
from .image_encoder import ImageEncoderViT
from .mask_decoder import MaskDecoder
from .mask_rater import MaskRater
from .prompt_encoder import PromptEncoder
from .sam import PIXEL_MEAN, PIXEL_STD, Sam
from .tiny_vit import TinyViT
from .transformer import TwoWayTransformer

MOST_BLOCKS = 256
MOST_WINDOW = 64
MOST_SIDE = 4096
"""A file that asks for more is not believed."""


@dataclass(frozen=True)
class VitConfig:
    """`ImageEncoderViT` of a square of ``img_size`` pixels."""

    img_size: int = 1024
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    window_size: int = 14
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)


@dataclass(frozen=True)
class TinyVitConfig:
    """`TinyViT` of a square of ``img_size`` pixels; one number a stage, of four."""

    img_size: int = 1024
    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)


@dataclass(frozen=True)
class ConvConfig:
    """`ConvEncoder`, whose embedding of any size is decoded in windows of ``window_cells``."""

    widths: tuple[int, ...] = (48, 96, 160, 192)
    depths: tuple[int, ...] = (1, 3, 3, 2)
    stem_chans: int = 24
    window_cells: int = 32


EncoderConfig = VitConfig | TinyVitConfig | ConvConfig
ENCODER_KINDS: dict[str, type[EncoderConfig]] = {
    "vit": VitConfig,
    "tiny_vit": TinyVitConfig,
    "conv": ConvConfig,
}


@dataclass(frozen=True)
class SamConfig:
    """Everything needed to build a `Sam`; the encoder's type says which kind it is.

    ``settling_dim`` is the width of a `FusionBlock` after the transformer, ``rater_hidden_dim``
    that of a `MaskRater`; 0 for none.
    """

    encoder: EncoderConfig = VitConfig()
    prompt_embed_dim: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    mask_in_chans: int = 16
    iou_head_hidden_dim: int = 256
    settling_dim: int = 0
    rater_hidden_dim: int = 0
    pixel_mean: tuple[float, ...] = PIXEL_MEAN
    pixel_std: tuple[float, ...] = PIXEL_STD

    def to_json(self) -> str:
        """The configuration as JSON; `from_json` reads it back."""
        kind = next(k for k, t in ENCODER_KINDS.items() if isinstance(self.encoder, t))
        return json.dumps({"encoder_kind": kind, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> SamConfig:
        """Read `to_json`'s text.

        Raises:
            ValueError: not JSON, or not such a configuration; the message says what is wrong.
        """
        try:
            raw = json.loads(text)
            encoder = ENCODER_KINDS[raw.pop("encoder_kind")](**_frozen(raw.pop("encoder")))
            config = cls(encoder=encoder, **_frozen(raw))
            _check_sane(config)
            return config
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"Expected a model configuration, got {text[:200]!r} ({error})."
            ) from error


def _frozen(raw: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists as tuples; numbers only, no larger than a model could be."""
    out = {}
    for name, value in raw.items():
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, (int, float)) and 0 <= v <= 65536 for v in values):
            raise ValueError(f"Expected numbers from 0 to 65536 for {name}, got {value!r}.")
        out[name] = tuple(values) if isinstance(value, list) else value
    return out


def _check_sane(config: SamConfig) -> None:
    """See that a configuration out of a file has every value in its kind and in reason.

    Raises:
        ValueError: naming the value.
    """
    encoder = config.encoder
    fields = {**dataclasses.asdict(encoder), **dataclasses.asdict(config)}
    like = {**dataclasses.asdict(type(encoder)()), **dataclasses.asdict(SamConfig())}
    for name, value in fields.items():
        if name in ("encoder", "pixel_mean", "pixel_std"):
            continue
        values = value if isinstance(like[name], tuple) else (value,)
        if not isinstance(values, tuple) or not values or any(type(v) is not int for v in values):
            raise ValueError(f"Expected whole numbers for {name}, got {value!r}.")
    for name in ("pixel_mean", "pixel_std"):
        value = fields[name]
        if not isinstance(value, tuple) or len(value) != 3 or (name == "pixel_std" and 0 in value):
            raise ValueError(f"Expected three numbers for {name}, no std of 0, got {value!r}.")
    if isinstance(encoder, VitConfig):
        blocks = encoder.depth
    elif isinstance(encoder, TinyVitConfig):
        blocks = sum(encoder.depths)
        _check_stages(encoder)
    else:
        blocks = sum(encoder.depths)
        if encoder.window_cells % 4 or not 8 <= encoder.window_cells <= 128:
            raise ValueError(
                "Expected window_cells as a multiple of 4 from 8 to 128, got "
                f"{encoder.window_cells}."
            )
    if not 0 < blocks + config.decoder_depth <= MOST_BLOCKS:
        raise ValueError(f"Expected at most {MOST_BLOCKS} blocks, got {blocks}.")


def _check_stages(size: TinyVitConfig) -> None:
    """See that the stages of a `TinyViT` fit each other; no weight would tell a wrong square.

    Raises:
        ValueError: naming the value.
    """
    for name in ("embed_dims", "depths", "num_heads", "window_sizes"):
        value = getattr(size, name)
        if len(value) != 4 or 0 in value:
            raise ValueError(f"Expected four numbers from 1 for {name}, got {value}.")
    if max(size.window_sizes) > MOST_WINDOW:
        raise ValueError(f"Expected window_sizes to {MOST_WINDOW}, got {size.window_sizes}.")
    if any(dim % heads for dim, heads in zip(size.embed_dims, size.num_heads, strict=True)):
        raise ValueError(
            f"Expected embed_dims as multiples of {size.num_heads}, got {size.embed_dims}."
        )
    if size.img_size % 16 or not 0 < size.img_size <= MOST_SIDE:
        raise ValueError(
            f"Expected img_size as a multiple of 16 up to {MOST_SIDE}, got {size.img_size}."
        )


VIT_B = SamConfig()
VIT_L = SamConfig(
    VitConfig(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23))
)
VIT_H = SamConfig(
    VitConfig(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31))
)
VIT_T = SamConfig(TinyVitConfig())
NANO = SamConfig(
    ConvConfig(),
    prompt_embed_dim=128,
    decoder_heads=4,
    decoder_mlp_dim=256,
    mask_in_chans=32,
    iou_head_hidden_dim=128,
    settling_dim=48,
    rater_hidden_dim=48,
)


def small_vit_config(img_size: int = 128) -> SamConfig:
    """A ViT model small enough for quick tests: random weights, every part of the real one."""
    encoder = VitConfig(img_size, 16, 32, 2, 2, 3, (1,))
    return SamConfig(
        encoder, prompt_embed_dim=32, decoder_heads=2, decoder_mlp_dim=64, iou_head_hidden_dim=32
    )


def small_vit_t_config(img_size: int = 128) -> SamConfig:
    """As `small_vit_config`, with a `TinyViT` encoder; maps are no multiples of its windows."""
    encoder = TinyVitConfig(img_size, (8, 16, 24, 32), (1, 1, 2, 1), (1, 2, 3, 4), (3, 3, 5, 3))
    return dataclasses.replace(small_vit_config(img_size), encoder=encoder)


class without_init(TorchFunctionMode):
    """Context in which modules are built with whatever their memory holds, to be loaded after.

    Random numbers for weights that a file replaces take a second for `VIT_B`, and drawing them on
    the meta device has torch import its compiler, which takes three.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Fill nothing; call everything else."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)


def build_sam(config: SamConfig = VIT_B) -> Sam:
    """A `Sam` of this size with random weights."""
    dim = config.prompt_embed_dim
    encoder, prompts, fusion = _encoder_parts(config)
    transformer = TwoWayTransformer(
        config.decoder_depth, dim, config.decoder_heads, config.decoder_mlp_dim
    )
    decoder = MaskDecoder(
        transformer_dim=dim,
        transformer=transformer,
        iou_head_hidden_dim=config.iou_head_hidden_dim,
        fusion=fusion,
        settling=FusionBlock(dim, config.settling_dim) if config.settling_dim else None,
        rater=MaskRater(dim, config.rater_hidden_dim) if config.rater_hidden_dim else None,
    )
    return Sam(encoder, prompts, decoder, config.pixel_mean, config.pixel_std)


def _encoder_parts(
    config: SamConfig,
) -> tuple[ImageEncoderViT | TinyViT | ConvEncoder, PromptEncoder, FusionBlock | None]:
    """The parts that differ between an encoder of squares and a convolutional field encoder."""
    size, dim = config.encoder, config.prompt_embed_dim
    if isinstance(size, ConvConfig):
        conv = ConvEncoder(size.widths, size.depths, size.stem_chans, dim)
        cells = (size.window_cells, size.window_cells)
        window_px = (cells[0] * conv.stride, cells[1] * conv.stride)
        return (
            conv,
            DensePromptEncoder(dim, cells, window_px, config.mask_in_chans),
            FusionBlock(dim),
        )
    square = (size.img_size, size.img_size)
    side = size.img_size // (16 if isinstance(size, TinyVitConfig) else size.patch_size)
    prompts = PromptEncoder(dim, (side, side), square, config.mask_in_chans)
    if isinstance(size, TinyVitConfig):
        return TinyViT(**dataclasses.asdict(size), out_chans=dim), prompts, None
    vit = ImageEncoderViT(
        img_size=size.img_size,
        patch_size=size.patch_size,
        embed_dim=size.embed_dim,
        depth=size.depth,
        num_heads=size.num_heads,
        out_chans=dim,
        window_size=size.window_size,
        global_attn_indexes=size.global_attn_indexes,
    )
    return vit, prompts, None
