"""Attention between a prompt's few tokens and an image's many pixels, for inference.

A projection of every pixel can as well be applied to the tokens: q . (W x) = (W^T q) . x. With
8 heads and 7 tokens that is less than half of the products, and no projected image is written to
memory. Pixels that many prompts share are projected once instead. `transformer.Attention` is the
plain twin. Tokens keep their own precision; pixels may run in a lower one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .transformer import Attention

CACHE_BYTES = 1 << 20
"""Pixels on which a CPU does several steps one after the other."""


class TokenPixelProducts:
    """Products of projected tokens with projected pixels, by head.

    Args:
        tokens: projection of the tokens, to H heads of d.
        pixels: projection of the pixels.
        heads: H.
        code: positional code (N, C) that the pixels get before their projection.
        dtype: of the pixels.
    """

    def __init__(
        self, tokens: nn.Linear, pixels: nn.Linear, heads: int, code: Tensor, dtype: torch.dtype
    ) -> None:
        self.heads, self.dtype = heads, dtype
        self.project_tokens = tokens
        self.by_head = pixels.weight.unflatten(0, (heads, -1))  # (H, d, C)
        self.pixel_weight = pixels.weight.to(dtype)
        # All of W (x + code) + b that does not depend on the image.
        self.code = self._as_keys(pixels(code)).to(dtype)

    def _as_keys(self, projected: Tensor) -> Tensor:
        """(N, H d) -> (H, d, N)."""
        by_head: Tensor = projected.unflatten(-1, (self.heads, -1))
        return by_head.permute(1, 2, 0).contiguous()

    def keys(self, pixels: Tensor) -> Tensor:
        """Pixels (1, N, C) -> projected with their code, (H, d, N)."""
        return self._as_keys(F.linear(pixels[0], self.pixel_weight)) + self.code

    def queries(self, tokens: Tensor) -> Tensor:
        """(B, T, C) -> (B, H, T, d), scaled."""
        q: Tensor = self.project_tokens(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        scale: float = q.shape[-1] ** -0.5
        return q * scale

    def folded(self, q: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, H T, C), to be multiplied with bare pixels."""
        folded: Tensor = torch.einsum("bhtd,hdc->bhtc", q, self.by_head)
        return folded.flatten(1, 2).to(self.dtype)

    def against(self, q: Tensor, keys: Tensor) -> Tensor:
        """(B, H, T, d) times keys that all prompts share, (H, d, N) -> (B, H T, N)."""
        rows = q.transpose(0, 1).flatten(1, 2).to(self.dtype)
        by_prompt: Tensor = (rows @ keys).unflatten(1, (q.shape[0], -1))
        return by_prompt.transpose(0, 1).flatten(1, 2)


class TokensReadPixels:
    """``attention(tokens, pixels + code, pixels)``."""

    def __init__(self, attention: Attention, code: Tensor, dtype: torch.dtype) -> None:
        self.products = TokenPixelProducts(
            attention.q_proj, attention.k_proj, attention.num_heads, code, dtype
        )
        self._values, self._out = attention.v_proj, attention.out_proj
        self._value_weight = attention.v_proj.weight.to(dtype)

    def shared(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (H, d, N) and values (H, N, d), without their bias, of pixels (1, N, C)."""
        values = F.linear(pixels[0], self._value_weight)
        values = values.unflatten(-1, (self.products.heads, -1)).transpose(0, 1)
        return self.products.keys(pixels), values.contiguous()

    def __call__(
        self, tokens: Tensor, pixels: Tensor, shared: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Tokens (B, T, C) and pixels (B or 1, N, C), or what was `shared` of these: (B, T, C)."""
        q = self.products.queries(tokens)
        mean = self._mean_of_pixels(q, pixels) if shared is None else self._mean_of(q, *shared)
        # Weights sum to 1, so that the values' bias may be added to their mean.
        told: Tensor = self._out(mean.to(tokens.dtype).flatten(2) + self._values.bias)
        return told

    def _mean_of(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Weighted mean of shared values, (B, T, H, d)."""
        count, _, length, _ = q.shape
        rows = q.transpose(0, 1).flatten(1, 2).to(keys.dtype)[None]
        mean = F.scaled_dot_product_attention(rows, keys.mT[None], values[None], scale=1.0)
        by_prompt: Tensor = mean[0].unflatten(1, (count, length))
        return by_prompt.permute(1, 2, 0, 3)

    def _mean_of_pixels(self, q: Tensor, pixels: Tensor) -> Tensor:
        """As `_mean_of`, projecting the mean of the pixels, not the pixels."""
        count, heads, length, _ = q.shape
        products = self.products
        asking, fixed = products.folded(q)[:, None], products.against(q, products.code)[:, None]
        seen = pixels.expand(count, -1, -1)[:, None]
        mean = F.scaled_dot_product_attention(asking, seen, seen, attn_mask=fixed, scale=1.0)
        mean = mean[:, 0].unflatten(1, (heads, length)).to(q.dtype)
        by_head = self._values.weight.unflatten(0, (heads, -1))
        return torch.einsum("bhtc,hdc->bthd", mean, by_head)


class PixelsReadTokens:
    """``pixels + attention(pixels + code, placed tokens, tokens)``."""

    def __init__(self, attention: Attention, code: Tensor, dtype: torch.dtype) -> None:
        self.products = TokenPixelProducts(
            attention.k_proj, attention.q_proj, attention.num_heads, code, dtype
        )
        self._values, self._out = attention.v_proj, attention.out_proj

    def shared(self, pixels: Tensor) -> Tensor:
        """Projected pixels (H, d, N) of (1, N, C)."""
        return self.products.keys(pixels)

    def __call__(
        self,
        pixels: Tensor,
        placed: Tensor,
        tokens: Tensor,
        norm: nn.Module,
        shared: Tensor | None = None,
    ) -> Tensor:
        """What pixels become: ``norm`` of them and what they read, (B, N, C).

        Each pixel reads for itself, so that all steps are done on a few pixels at a time, which
        then lie near the cores.

        Args:
            pixels: (B or 1, N, C).
            placed: tokens (B, T, C) with their place.
            tokens: without.
            norm: over channels.
            shared: what `shared` made of ``pixels``.
        """
        count, total, channels = len(tokens), *pixels.shape[1:]
        q, messages = self.products.queries(placed), self._messages(tokens).to(pixels.dtype)
        folded = None if shared is not None else self.products.folded(q)
        keys = self.products.code if shared is None else shared
        out = pixels.new_empty((count, total, channels))
        step = total
        if pixels.device.type == "cpu":
            step = max(1, CACHE_BYTES // (count * channels * pixels.element_size()))
        for start in range(0, total, step):
            part = slice(start, start + step)
            seen = pixels[:, part].expand(count, -1, -1)
            scores = self.products.against(q, keys[..., part])
            if folded is not None:
                scores = torch.baddbmm(scores, folded, seen.mT)
            weights = torch.softmax(scores.unflatten(1, (-1, tokens.shape[1])), dim=2)
            out[:, part] = norm(torch.baddbmm(seen, weights.flatten(1, 2).mT, messages))
        return out

    def _messages(self, tokens: Tensor) -> Tensor:
        """What each head tells of each token, projected for the pixels: (B, H T, C)."""
        heads = self.products.heads
        values = self._values(tokens).unflatten(-1, (heads, -1))
        by_head = self._out.weight.unflatten(1, (heads, -1))
        told = torch.einsum("bthd,chd->bhtc", values, by_head)
        # A head's weights sum to 1 at each pixel, so that one head may carry the bias.
        told[:, 0] += self._out.bias
        return told.flatten(1, 2)
