"""ViT image encoder with windowed and global attention (ViTDet; Kirillov et al. 2023, A.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Attention
from .layers import MLPBlock, drop_path, neck

Progress = Callable[[int, int], None]
NORM_EPS = 1e-6


class PatchEmbed(nn.Module):
    """Image patches -> tokens, by one strided convolution."""

    def __init__(self, patch_size: int, in_chans: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H / patch, W / patch, embed_dim)."""
        out: Tensor = self.proj(x)
        return out.permute(0, 2, 3, 1).contiguous()


class Block(nn.Module):
    """Transformer block; ``window_size`` 0 is global attention.

    ``drop_rate`` is the rate at which training leaves its branches out (`layers.drop_path`).
    """

    drop_rate: float = 0.0

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        use_rel_pos: bool,
        window_size: int,
        input_size: tuple[int, int],
    ) -> None:
        super().__init__()
        seen = (window_size, window_size) if window_size else input_size
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads, qkv_bias, use_rel_pos, seen)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = MLPBlock(dim, int(dim * mlp_ratio))
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> the same shape."""
        rate = self.drop_rate if self.training else 0.0
        x = x + drop_path(self.attn(self.norm1(x), self.window_size), rate)
        out: Tensor = x + drop_path(self.mlp(self.norm2(x)), rate)
        return out


class ImageEncoderViT(nn.Module):
    """Square image -> embedding at a sixteenth of its side.

    With ``recomputes_blocks`` a block's activations are computed again for its gradients instead of
    being kept: a third more work, and the memory of one block (Chen et al. 2016, arXiv 1604.06174).
    """

    recomputes_blocks: bool = False

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        out_chans: int = 256,
        qkv_bias: bool = True,
        use_abs_pos: bool = True,
        use_rel_pos: bool = True,
        window_size: int = 14,
        global_attn_indexes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.img_size = img_size
        side = img_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, in_chans, embed_dim)
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos:
            self.pos_embed = nn.Parameter(torch.zeros(1, side, side, embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                mlp_ratio,
                qkv_bias,
                use_rel_pos,
                0 if i in global_attn_indexes else window_size,
                (side, side),
            )
            for i in range(depth)
        )
        self.neck = neck(embed_dim, out_chans)

    def set_drop_path(self, rate: float) -> None:
        """Let training leave branches out: the first block's never, the last one's at ``rate``."""
        for i, block in enumerate(self.blocks):
            block.drop_rate = rate * i / max(1, len(self.blocks) - 1)  # type: ignore[assignment]

    def forward(self, x: Tensor, progress: Progress | None = None) -> Tensor:
        """(B, 3, img_size, img_size) normalised -> (B, out_chans, side / 16, side / 16).

        ``progress(done, total)`` is called after each block; an exception from it cancels.
        """
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        total = len(self.blocks) + 1
        recomputes = self.recomputes_blocks and torch.is_grad_enabled()
        for done, block in enumerate(self.blocks, start=1):
            x = checkpoint(block, x, use_reentrant=False) if recomputes else block(x)
            if progress is not None:
                progress(done, total)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        if progress is not None:
            progress(total, total)
        return out
