"""Drop-in for scripts written for the ``segment_anything`` package: same names, same answers.

These compute in the module's own type, fp32 unless it was cast; never in automatic precision.
"""

from .automatic_mask_generator import SamAutomaticMaskGenerator
from .build import (
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    build_sam_vit_t,
    sam_model_registry,
)
from .predictor import SamPredictor
from .transforms import ResizeLongestSide

__all__ = [
    "ResizeLongestSide",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "build_sam",
    "build_sam_vit_b",
    "build_sam_vit_h",
    "build_sam_vit_l",
    "build_sam_vit_t",
    "sam_model_registry",
]
