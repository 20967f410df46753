"""Rates the three masks of an ambiguous prompt once they are drawn, by how they look together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import MLP

STABLE_LOGIT = 1.0
MASKS = 3
LOOKS = 3 * MASKS + MASKS + MASKS
"""Of a mask and of both others: rating, stability, size. Three overlaps. Which mask it is."""


class MaskRater(nn.Module):
    """Predicted IoU of three masks -> better ones.

    The decoder rates its masks before they are drawn. What is seen in them says more: masks that
    agree are right more often than masks that do not, and so are those with a sharp border. The
    token by which the decoder rates knows more than its four numbers, such as where the click was.

    Args:
        token_dim: width of that token.
        hidden_dim: width of both hidden layers.
    """

    def __init__(self, token_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.mlp = MLP(LOOKS + token_dim, hidden_dim, 1, 3, sigmoid_output=True)

    def forward(self, token: Tensor, iou: Tensor, logits: Tensor) -> Tensor:
        """Token (B, C), predicted (B, 3) and drawn (B, 3, h, w) -> predicted again, (B, 3) in 0..1.

        It is taught alone: no gradient goes back to what it sees.
        """
        with torch.no_grad():
            looks = self.looks(iou, logits)
            seen = torch.cat([looks, token[:, None].expand(-1, MASKS, -1).float()], dim=-1)
        out: Tensor = self.mlp(seen.to(next(self.mlp.parameters()).dtype))[..., 0]
        return out.to(iou.dtype)

    @staticmethod
    def looks(iou: Tensor, logits: Tensor) -> Tensor:
        """How each mask looks, (B, 3, 15): itself first, then the next, then the last."""
        flat = logits.flatten(2)
        masks = (flat > 0).float()
        areas = masks.sum(-1)
        stability = (flat > STABLE_LOGIT).sum(-1) / (flat > -STABLE_LOGIT).sum(-1).clamp(min=1)
        sizes = torch.log1p(areas) / 10
        own = torch.stack([iou.float(), stability, sizes], dim=-1)
        shared = masks @ masks.mT
        overlaps = shared / (areas[:, :, None] + areas[:, None] - shared).clamp(min=1)
        which = torch.eye(MASKS, device=iou.device).expand(len(iou), -1, -1)
        rows = []
        for a in range(MASKS):
            b, c = (a + 1) % MASKS, (a + 2) % MASKS
            pairs = torch.stack([overlaps[:, a, b], overlaps[:, a, c], overlaps[:, b, c]], dim=-1)
            rows.append(torch.cat([own[:, a], own[:, b], own[:, c], pairs, which[:, a]], dim=-1))
        return torch.stack(rows, dim=1)
