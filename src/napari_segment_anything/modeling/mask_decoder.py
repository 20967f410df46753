"""Image embedding and prompt -> masks and their predicted IoU (Figure 14)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import MLP, LayerNorm2d
from .mask_rater import MaskRater


class Drawn(NamedTuple):
    """All masks of B prompts, the single one first, as they are rated before any is seen.

    ``logits`` (B, 4, 4h, 4w), ``iou`` (B, 4), and the ``token`` (B, C) that rates them.
    """

    logits: Tensor
    iou: Tensor
    token: Tensor


class MaskDecoder(nn.Module):
    """Four mask tokens, of which the first answers clear prompts and the others ambiguous ones."""

    def __init__(
        self,
        *,
        transformer_dim: int,
        transformer: nn.Module,
        num_multimask_outputs: int = 3,
        activation: type[nn.Module] = nn.GELU,
        iou_head_depth: int = 3,
        iou_head_hidden_dim: int = 256,
        fusion: nn.Module | None = None,
        settling: nn.Module | None = None,
        rater: MaskRater | None = None,
    ) -> None:
        super().__init__()
        dim = transformer_dim
        self.transformer_dim = dim
        self.transformer = transformer
        self.num_multimask_outputs = num_multimask_outputs
        self.num_mask_tokens = num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            activation(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            activation(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(dim, dim, dim // 8, 3) for _ in range(self.num_mask_tokens)
        )
        self.iou_prediction_head = MLP(
            dim, iou_head_hidden_dim, self.num_mask_tokens, iou_head_depth
        )
        self.fusion = fusion
        self.settling = settling
        self.rater = rater

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks for B prompts.

        Args:
            image_embeddings: (1, C, h, w), shared by all prompts, or (B, C, h, w), one each.
            image_pe: (1, C, h, w).
            sparse_prompt_embeddings: (B, N, C).
            dense_prompt_embeddings: (B, C, h, w).
            multimask_output: three masks, or the single one.

        Returns:
            Logits (B, 3 or 1, 4h, 4w) and predicted IoU (B, 3 or 1).
        """
        drawn = self.predict_masks(
            image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        )
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        masks, iou = drawn.logits[:, chosen], drawn.iou[:, chosen]
        return masks, self.rated_again(drawn.token, iou, masks)

    def rated_again(self, token: Tensor, iou: Tensor, logits: Tensor) -> Tensor:
        """Predicted IoU (B, 3 or 1) of drawn masks: three are rated anew where there is a rater."""
        if self.rater is None or iou.shape[1] == 1:
            return iou
        rated: Tensor = self.rater(token, iou, logits)
        return rated

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> Drawn:
        """All masks of B prompts; the arguments are `forward`'s."""
        batch = len(sparse_prompt_embeddings)
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([outputs.expand(batch, -1, -1), sparse_prompt_embeddings], dim=1)
        image = image_embeddings + dense_prompt_embeddings
        if self.fusion is not None:
            image = self.fusion(image)
        tokens, pixels = self.transformer(image, image_pe, tokens)
        pixels = pixels.transpose(1, 2).reshape(image.shape)
        if self.settling is not None:
            pixels = self.settling(pixels)
        upscaled = self.output_upscaling(pixels)
        weights = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (weights @ upscaled.flatten(2)).unflatten(-1, upscaled.shape[-2:])
        return Drawn(masks, self.iou_prediction_head(tokens[:, 0]), tokens[:, 0])
