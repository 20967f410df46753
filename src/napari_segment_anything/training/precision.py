"""In which precision a run multiplies; weights and their updates are fp32 always."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from ..inference.runtime import pick_precision

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
TENSOR_CORES = (7, 0)
"""Compute capability from which a CUDA device multiplies fp16 by matrix units."""


@dataclass(frozen=True)
class MixedPrecision:
    """``name`` is fp32, bf16 or fp16, on ``device``."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which a model computes in this precision where that is safe."""
        dtype = HALF.get(self.name)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps gradients of fp16 above its smallest number; does nothing in fp32 and bf16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def pick_training_precision(name: str, device: torch.device) -> MixedPrecision:
    """``auto``, ``fp32``, ``bf16`` or ``fp16`` -> what trains on ``device``.

    ``auto`` is bf16 where the hardware multiplies it, fp16 on CUDA devices that have matrix units
    for that only, else fp32.

    Raises:
        ValueError: an unknown name, or fp16 off CUDA, where nothing scales its gradients.
    """
    picked = pick_precision(name, device).name
    if name == "fp16" and device.type != "cuda":
        raise ValueError(f"Expected fp32 or bf16 to train on {device}, got fp16; that needs CUDA.")
    is_older_cuda = name == "auto" and picked == "fp32" and device.type == "cuda"
    if is_older_cuda and torch.cuda.get_device_capability(device) >= TENSOR_CORES:
        picked = "fp16"
    return MixedPrecision(picked, device)
