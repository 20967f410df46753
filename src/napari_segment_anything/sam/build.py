"""Models by name, with the weights of a checkpoint or random ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..modeling.sam import Sam
from ..modeling.sizes import VIT_B, VIT_H, VIT_L, VIT_T, SamConfig
from ..modeling.sizes import build_sam as build_from_config
from ..zoo.checkpoint import CheckpointError, read_checkpoint


def _build(config: SamConfig, name: str, checkpoint: str | Path | None) -> Sam:
    sam = build_from_config(config).eval()
    if checkpoint is not None:
        loaded = read_checkpoint(checkpoint)
        if loaded.config != config:
            raise CheckpointError(
                f"{checkpoint}: expected weights of {name}, found those of another size; "
                "take the registry entry that fits the file."
            )
        sam.load_state_dict(loaded.state_dict, strict=True)
    return sam


def build_sam_vit_h(checkpoint: str | Path | None = None) -> Sam:
    """ViT-H, 641 M parameters."""
    return _build(VIT_H, "vit_h", checkpoint)


def build_sam_vit_l(checkpoint: str | Path | None = None) -> Sam:
    """ViT-L, 312 M parameters."""
    return _build(VIT_L, "vit_l", checkpoint)


def build_sam_vit_b(checkpoint: str | Path | None = None) -> Sam:
    """ViT-B, 94 M parameters."""
    return _build(VIT_B, "vit_b", checkpoint)


def build_sam_vit_t(checkpoint: str | Path | None = None) -> Sam:
    """MobileSAM: TinyViT, 10 M parameters."""
    return _build(VIT_T, "vit_t", checkpoint)


build_sam = build_sam_vit_h

sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": build_sam_vit_h,
    "vit_h": build_sam_vit_h,
    "vit_l": build_sam_vit_l,
    "vit_b": build_sam_vit_b,
    "vit_t": build_sam_vit_t,
}
