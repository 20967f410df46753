"""The whole model: image encoder, prompt encoder, mask decoder (Kirillov et al. 2023, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fast_decoder import FastMaskDecoder
from .mask_decoder import MaskDecoder
from .prompt_encoder import PromptEncoder

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class Sam(nn.Module):
    """Segments what a prompt points at; expects RGB images, 0..255.

    ``is_square`` says that the encoder wants a square of ``image_encoder.img_size``; otherwise it
    takes any size, and each prompt is decoded in a window of the embedding.
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        pixel_mean: Sequence[float] = PIXEL_MEAN,
        pixel_std: Sequence[float] = PIXEL_STD,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        mean, std = torch.tensor(pixel_mean), torch.tensor(pixel_std)
        self.register_buffer("pixel_mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    @property
    def is_square(self) -> bool:
        """True if the encoder takes a square of one size only."""
        return hasattr(self.image_encoder, "img_size")

    def preprocess(self, x: Tensor) -> Tensor:
        """(..., 3, H, W) pixels 0..255 -> normalised, padded at right and bottom to the square."""
        x = (x - self.pixel_mean) / self.pixel_std
        side = int(self.image_encoder.img_size)  # type: ignore[arg-type]
        h, w = x.shape[-2:]
        return F.pad(x, (0, side - w, 0, side - h))

    def postprocess_masks(
        self, masks: Tensor, input_size: tuple[int, ...], original_size: tuple[int, ...]
    ) -> Tensor:
        """Low-res logits (B, M, h, w) -> logits at ``original_size``, (B, M, H, W).

        Two bilinear steps: to the model's square, whose padding beyond ``input_size`` is cut off,
        then to the image.
        """
        side = int(self.image_encoder.img_size)  # type: ignore[arg-type]
        masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        if masks.shape[-2:] == tuple(original_size):  # the second step would change nothing
            return masks
        return F.interpolate(masks, tuple(original_size), mode="bilinear", align_corners=False)

    @torch.no_grad()
    def forward(
        self, batched_input: list[dict[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Segment several images, each with its own prompts.

        Args:
            batched_input: one dict an image: ``image`` (3, H, W) resized for the model,
                ``original_size`` (H, W) before that, and any of ``point_coords`` (B, N, 2) with
                ``point_labels`` (B, N), ``boxes`` (B, 4), ``mask_inputs`` (B, 1, h, w), all in
                the frame of ``image``.
            multimask_output: three masks a prompt, or one.

        Returns:
            One dict an image: ``masks`` (B, M, H, W) bool, ``iou_predictions`` (B, M) and
            ``low_res_logits`` (B, M, h, w).
        """
        images = torch.stack([self.preprocess(record["image"]) for record in batched_input])
        embeddings = self.image_encoder(images)
        code = self.prompt_encoder.get_dense_pe()
        decoder = FastMaskDecoder(self.mask_decoder, code, embeddings.dtype)
        outputs = []
        for record, embedding in zip(batched_input, embeddings, strict=True):
            points = None
            if "point_coords" in record:
                points = (record["point_coords"], record["point_labels"])
            sparse, dense = self.prompt_encoder(
                points=points, boxes=record.get("boxes"), masks=record.get("mask_inputs")
            )
            answers = decoder.answer(embedding[None], sparse, dense, multimask_output)
            masks = self.postprocess_masks(
                answers.logits, record["image"].shape[-2:], record["original_size"]
            )
            outputs.append(
                {
                    "masks": masks > self.mask_threshold,
                    "iou_predictions": answers.iou,
                    "low_res_logits": answers.logits,
                }
            )
        return outputs
