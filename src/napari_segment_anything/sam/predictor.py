"""`SamPredictor`: set an image once, predict masks for many prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..modeling.fast_decoder import FastMaskDecoder
from ..modeling.sam import Sam
from .transforms import ResizeLongestSide

Arrays = tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]


class SamPredictor:
    """Keeps the embedding of one image; ``original_size`` and ``input_size`` are (H, W)."""

    def __init__(self, sam_model: Sam) -> None:
        self.model = sam_model
        side = int(sam_model.image_encoder.img_size)  # type: ignore[arg-type]
        self.transform = ResizeLongestSide(side)
        self.reset_image()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def reset_image(self) -> None:
        """Forget the image."""
        self.is_image_set = False
        self.features: Tensor | None = None
        self.original_size: tuple[int, ...] | None = None
        self.input_size: tuple[int, ...] | None = None
        self._decoder: FastMaskDecoder | None = None

    def set_image(self, image: NDArray[np.uint8], image_format: str = "RGB") -> None:
        """Encode an (H, W, 3) uint8 image, channels as ``image_format`` says: RGB or BGR."""
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"Expected image_format 'RGB' or 'BGR', got {image_format!r}.")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"Expected an (H, W, 3) uint8 image, got {image.dtype} {image.shape}; "
                "napari_segment_anything.encode takes other kinds."
            )
        if image_format != self.model.image_format:
            image = image[..., ::-1]
        resized = torch.as_tensor(self.transform.apply_image(image), device=self.device)
        self.set_torch_image(resized.permute(2, 0, 1)[None], image.shape[:2])

    @torch.no_grad()
    def set_torch_image(
        self, transformed_image: Tensor, original_image_size: tuple[int, ...]
    ) -> None:
        """Encode a (1, 3, h, w) image whose long side already is the model's."""
        side = self.transform.target_length
        shape = tuple(transformed_image.shape)
        if len(shape) != 4 or shape[1] != 3 or max(shape[2:]) != side:
            raise ValueError(
                f"Expected (1, 3, h, w) with a long side of {side}, got {shape}; "
                "use transform.apply_image_torch first."
            )
        self.reset_image()
        self.original_size = tuple(original_image_size)
        self.input_size = shape[2:]
        self.features = self.model.image_encoder(self.model.preprocess(transformed_image))
        self.is_image_set = True

    def predict(
        self,
        point_coords: NDArray[np.floating] | None = None,
        point_labels: NDArray[np.integer] | None = None,
        box: NDArray[np.floating] | None = None,
        mask_input: NDArray[np.floating] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> Arrays:
        """Masks for one prompt in pixels of the image.

        Args:
            point_coords: (N, 2), x then y; with ``point_labels`` (N,), 1 foreground, 0 background.
            box: (4,) x0, y0, x1, y1.
            mask_input: (1, h, w) low-res logits of an earlier prediction.
            multimask_output: three masks, or one.
            return_logits: logits instead of bool masks.

        Returns:
            Masks (M, H, W), predicted IoU (M,), low-res logits (M, h, w).
        """
        _, size, _ = self._checked()
        device = self.device
        coords = labels = boxes = masks = None
        if point_coords is not None:
            if point_labels is None:
                raise ValueError("Expected point_labels with point_coords, got None.")
            placed = self.transform.apply_coords(point_coords, size)
            dtype = torch.float32 if device.type == "mps" else torch.float64
            coords = torch.as_tensor(placed, dtype=dtype, device=device)[None]
            labels = torch.as_tensor(np.asarray(point_labels), dtype=torch.int, device=device)[None]
        if box is not None:
            placed = self.transform.apply_boxes(np.asarray(box), size)
            boxes = torch.as_tensor(placed, dtype=torch.float32, device=device)
        if mask_input is not None:
            masks = torch.as_tensor(mask_input, dtype=torch.float32, device=device)[None]
        answers = self.predict_torch(
            coords, labels, boxes, masks, multimask_output, return_logits=return_logits
        )
        full, iou, low_res = (
            (a.float() if a.dtype == torch.bfloat16 else a)[0].cpu().numpy() for a in answers
        )
        return full, iou, low_res

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `predict`, for B prompts already in model pixels.

        ``point_coords`` (B, N, 2), ``point_labels`` (B, N), ``boxes`` (B, 4), ``mask_input``
        (B, 1, h, w). Returns (B, M, H, W), (B, M), (B, M, h, w).
        """
        features, original_size, input_size = self._checked()
        points = None
        if point_coords is not None:
            if point_labels is None:
                raise ValueError("Expected point_labels with point_coords, got None.")
            points = (point_coords, point_labels)
        model = self.model
        if mask_input is not None:
            mask_input = mask_input.to(features.dtype)
        sparse, dense = model.prompt_encoder(points=points, boxes=boxes, masks=mask_input)
        answers = self._ready_decoder(features.dtype).answer(
            features, sparse, dense, multimask_output
        )
        masks = model.postprocess_masks(answers.logits, input_size, original_size)
        masks = masks if return_logits else masks > model.mask_threshold
        return masks, answers.iou, answers.logits

    def _ready_decoder(self, dtype: torch.dtype) -> FastMaskDecoder:
        """Made at the first prompt on an image: weights may change between images."""
        if self._decoder is None or self._decoder.dtype != dtype:
            code = self.model.prompt_encoder.get_dense_pe()
            self._decoder = FastMaskDecoder(self.model.mask_decoder, code, dtype)
        return self._decoder

    def get_image_embedding(self) -> Tensor:
        """The embedding of the image, (1, C, h, w)."""
        return self._checked()[0]

    def _checked(self) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
        if self.features is None or self.original_size is None or self.input_size is None:
            raise RuntimeError("Expected an image to be set, got none; call set_image first.")
        return self.features, self.original_size, self.input_size
