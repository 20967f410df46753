"""`MaskDecoder` for inference: the same answers with fewer products and less memory traffic.

`mask_decoder.MaskDecoder` is the plain twin, used in training. Its parameters are used here, and
what is derived from them is made once: build another one when they have changed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cross_attention import PixelsReadTokens, TokensReadPixels
from .mask_decoder import MaskDecoder
from .transformer import TwoWayAttentionBlock, TwoWayTransformer

UPSCALED_BYTES = 512 << 10
"""Pixels that are upscaled together, so that their children, twice as much, stay in the cache."""

CACHE_BYTES = 8 << 20
"""Pixels of all prompts that a CPU works on together: more would not stay near its cores."""

DEVICE_BYTES = 512 << 20
"""The same on an accelerator, where memory is the limit."""


@dataclass(frozen=True)
class Answers:
    """K answered prompts: ``asked`` (K,) says which, in order.

    ``logits`` (K, M, 4h, 4w), ``iou`` (K, M) predicted; M is 3 or 1.
    """

    logits: Tensor
    iou: Tensor
    asked: Tensor


@dataclass(frozen=True)
class Seen:
    """An image as a layer sees it: ``pixels`` (1 or B, N, C).

    Of pixels that all prompts share there may be projections, by the first layer's cross
    attentions.
    """

    pixels: Tensor
    to_read: tuple[Tensor, Tensor] | None = None
    to_write: Tensor | None = None


class _Remembered(NamedTuple):
    """An image, kept so that no other can take its place in memory, and what was seen of it."""

    image: Tensor
    place: tuple[object, ...]
    seen: Seen


class FastLayer:
    """`TwoWayAttentionBlock`, its cross attentions folded."""

    def __init__(self, block: TwoWayAttentionBlock, code: Tensor, dtype: torch.dtype) -> None:
        self.block = block
        self.read = TokensReadPixels(block.cross_attn_token_to_image, code, dtype)
        self.write = PixelsReadTokens(block.cross_attn_image_to_token, code, dtype)
        self.norm_pixels = copy.deepcopy(block.norm4).to(dtype)

    def __call__(self, tokens: Tensor, prompt: Tensor, seen: Seen) -> tuple[Tensor, Seen]:
        """Tokens (B, T, C) now and as they were asked, and what they see -> both, updated."""
        block = self.block
        tokens = block.among_tokens(tokens, prompt)
        tokens = block.norm2(tokens + self.read(tokens + prompt, seen.pixels, seen.to_read))
        tokens = block.norm3(tokens + block.mlp(tokens))
        pixels = self.write(seen.pixels, tokens + prompt, tokens, self.norm_pixels, seen.to_write)
        return tokens, Seen(pixels)


class FastUpscaling:
    """Both doublings of the side and the masks' products, pixel by pixel.

    A transposed convolution whose kernel is as large as its stride writes a pixel's four children
    independently of its neighbours, so that nothing moves in memory until the very end.
    """

    def __init__(self, layers: nn.Sequential, dtype: torch.dtype) -> None:
        first, norm, self.act_1, second, self.act_2 = layers
        self.first = _as_linear(first, dtype)
        self.norm = _as_norm(norm, dtype)
        self.second = _as_linear(second, dtype)

    def __call__(self, pixels: Tensor, weights: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Pixels (B, N, C) and mask weights (B, M, C / 8) -> logits (B, M, 4h, 4w)."""
        at_once = max(1, UPSCALED_BYTES // (pixels[:, 0].numel() * pixels.element_size() or 1))
        if pixels.device.type != "cpu":
            at_once = pixels.shape[1]
        parts = [weights @ self._children(p).mT for p in pixels.split(at_once, dim=1)]
        logits = torch.cat(parts, dim=2)
        count, masks, (h, w) = *logits.shape[:2], size_hw
        # Pixels, then rows and columns of their children, then of their children's.
        nested = logits.view(count, masks, h, w, 2, 2, 2, 2)
        return nested.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(count, masks, 4 * h, 4 * w)

    def _children(self, pixels: Tensor) -> Tensor:
        """(B, n, C) -> (B, 16 n, C / 8): four children of each of four children of each pixel."""
        b, n, _ = pixels.shape
        x = self.first(pixels).view(b, 4 * n, self.second.in_features)
        x = self.second(self.act_1(self.norm(x))).view(b, 16 * n, self.second.out_features // 4)
        out: Tensor = self.act_2(x)
        return out


def _place(x: Tensor) -> tuple[object, ...]:
    """Where a tensor's numbers lie, how they are seen, and how often they have changed there."""
    changes = 0 if x.is_inference() else x._version
    return x.data_ptr(), x.shape, x.stride(), x.dtype, changes


def _rows(x: Tensor, rows: slice) -> Tensor:
    """Those of (B, ...); all of (1, ...), which is shared."""
    return x if len(x) == 1 else x[rows]


def _copied(block: nn.Module | None, dtype: torch.dtype) -> nn.Module | None:
    """A copy of a block of convolutions that computes in ``dtype``."""
    return None if block is None else copy.deepcopy(block).to(dtype)


def _as_linear(conv: nn.Module, dtype: torch.dtype) -> nn.Linear:
    """A transposed convolution as (..., C) -> (..., 4 C'), a pixel's four children, row by row."""
    weight: Tensor = conv.weight.permute(2, 3, 1, 0).flatten(0, 2).to(dtype)  # type: ignore[operator]
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    linear.bias = nn.Parameter(conv.bias.repeat(4).to(dtype), requires_grad=False)  # type: ignore[operator]
    return linear


def _as_norm(norm: nn.Module, dtype: torch.dtype) -> nn.LayerNorm:
    """A norm over the channels of (B, C, h, w) as one of (..., C)."""
    last = nn.LayerNorm(len(norm.weight), eps=norm.eps, device="meta")  # type: ignore[arg-type]
    last.load_state_dict({k: v.clone() for k, v in norm.state_dict().items()}, assign=True)
    return last.to(dtype).requires_grad_(False)


class FastMaskDecoder:
    """Answers prompts in steps, so that what is rated too low need not be drawn.

    Args:
        decoder: the plain twin.
        image_pe: (1, C, h, w) positional code of the image embedding.
        dtype: in which pixels are computed; tokens keep the decoder's own.
    """

    def __init__(self, decoder: MaskDecoder, image_pe: Tensor, dtype: torch.dtype) -> None:
        self.plain, self.dtype = decoder, dtype
        self.size_hw = (image_pe.shape[-2], image_pe.shape[-1])
        self.token_dtype = decoder.iou_token.weight.dtype
        transformer = decoder.transformer
        if not isinstance(transformer, TwoWayTransformer):
            raise TypeError(f"Expected a TwoWayTransformer, got {type(transformer).__name__}.")
        code = image_pe[0].flatten(1).T.to(self.token_dtype)
        blocks: list[TwoWayAttentionBlock] = list(transformer.layers)  # type: ignore[arg-type]
        self.layers = [FastLayer(block, code, dtype) for block in blocks]
        self.last_look = TokensReadPixels(transformer.final_attn_token_to_image, code, dtype)
        self.last_norm = transformer.norm_final_attn
        self.upscale = FastUpscaling(decoder.output_upscaling, dtype)
        self._last: _Remembered | None = None
        self.fusion = _copied(decoder.fusion, dtype)
        self.settling = _copied(decoder.settling, dtype)

    def answer(
        self,
        image: Tensor,
        sparse: Tensor,
        dense: Tensor,
        multimask: bool,
        least_iou: float = -math.inf,
    ) -> Answers:
        """Decode B prompts, as many at once as suit the device.

        Args:
            image: (1, C, h, w), shared by all prompts, or (B, C, h, w), one each.
            sparse: (B, N, C).
            dense: (B, C, h, w); an expanded one counts as shared.
            multimask: three masks each, or one.
            least_iou: prompts none of whose masks is rated above are not drawn, and left out. A
                rater, where there is one, sees what is drawn.
        """
        prompt = self.tokens(sparse)
        count = len(prompt)
        if dense.stride(0) == 0:
            dense = dense[:1]
        shared = None
        if len(image) == len(dense) == 1:
            bare = dense.stride()[2:] == (0, 0)  # no mask prompt: the same for every pixel
            shared = self.see_again(image, dense) if bare else self.see(image, dense)
        logits, ratings, asked = [], [], []
        for start in range(0, count, self.prompts_at_once):
            rows = slice(start, start + self.prompts_at_once)
            seen = shared or self.see(_rows(image, rows), _rows(dense, rows))
            tokens, pixels = self.look(prompt[rows], seen, multimask)
            iou = self.rate(tokens, multimask)
            good = (iou > least_iou).any(1).nonzero()[:, 0]
            if len(good) < len(iou):
                tokens, pixels, iou = tokens[good], pixels[good], iou[good]
            drawn = self.draw(tokens, pixels, multimask).float()
            logits.append(drawn)
            ratings.append(self.plain.rated_again(tokens[:, 0], iou.float(), drawn))
            asked.append(good + start)
        return Answers(torch.cat(logits), torch.cat(ratings), torch.cat(asked))

    @property
    def prompts_at_once(self) -> int:
        """How many prompts are decoded together."""
        budget = CACHE_BYTES if self.plain.iou_token.weight.device.type == "cpu" else DEVICE_BYTES
        h, w = self.size_hw
        pixel_bytes = self.plain.transformer_dim * self.dtype.itemsize
        return max(1, budget // (h * w * pixel_bytes))

    def see(self, image: Tensor, dense: Tensor) -> Seen:
        """Bring image and dense embedding, each (1 or B, C, h, w), together for the first layer."""
        seen = image.to(self.dtype) + dense.to(self.dtype)
        if self.fusion is not None:
            seen = self.fusion(seen)
        return Seen(seen.flatten(2).transpose(1, 2).contiguous())

    def see_again(self, image: Tensor, dense: Tensor) -> Seen:
        """As `see`, with the first layer's projections, for an image of which more will be asked.

        The last one is remembered. ``dense`` is the model's embedding of no mask.
        """
        place = _place(image)
        if self._last is None or self._last.place != place:
            seen, first = self.see(image, dense), self.layers[0]
            projected = first.read.shared(seen.pixels), first.write.shared(seen.pixels)
            self._last = _Remembered(image, place, Seen(seen.pixels, *projected))
        return self._last.seen

    def tokens(self, sparse: Tensor) -> Tensor:
        """Output tokens before the prompts' (B, N, C): (B, 5 + N, C)."""
        outputs = torch.cat([self.plain.iou_token.weight, self.plain.mask_tokens.weight])
        sparse = sparse.to(self.token_dtype)
        return torch.cat([outputs.expand(len(sparse), -1, -1), sparse], dim=1)

    def look(self, prompt: Tensor, seen: Seen, multimask: bool) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C) and image attend to each other.

        Returns the tokens that answer, (B, 1 + M, C), the predicted IoU's first, and the pixels
        (B, N, C). The last look is theirs alone.
        """
        tokens = prompt
        for layer in self.layers:
            tokens, seen = layer(tokens, prompt, seen)
        masks = range(1, 1 + self.plain.num_mask_tokens)
        answering = [0, *masks[self._chosen(multimask)]]
        tokens, prompt = tokens[:, answering], prompt[:, answering]
        told = self.last_look(tokens + prompt, seen.pixels)
        return self.last_norm(tokens + told), seen.pixels

    def rate(self, tokens: Tensor, multimask: bool) -> Tensor:
        """Tokens that answer (B, 1 + M, C) -> predicted IoU (B, M)."""
        iou: Tensor = self.plain.iou_prediction_head(tokens[:, 0])
        return iou[:, self._chosen(multimask)]

    def draw(self, tokens: Tensor, pixels: Tensor, multimask: bool) -> Tensor:
        """Tokens that answer (B, 1 + M, C) and pixels -> logits (B, M, 4h, 4w)."""
        heads = list(self.plain.output_hypernetworks_mlps)[self._chosen(multimask)]
        weights = [mlp(tokens[:, i]) for i, mlp in enumerate(heads, start=1)]
        if self.settling is not None:
            field = pixels.mT.unflatten(2, self.size_hw)
            pixels = self.settling(field).flatten(2).mT
        return self.upscale(pixels, torch.stack(weights, dim=1).to(self.dtype), self.size_hw)

    @staticmethod
    def _chosen(multimask: bool) -> slice:
        return slice(1, None) if multimask else slice(0, 1)
