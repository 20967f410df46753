"""Device and precision: what was asked for -> what this machine runs well."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..config import PRECISIONS
from ..modeling.sam import Sam
from ..modeling.unetr import UnetrDecoder

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PrecisionChoice:
    """The precision picked and, in a few words, why."""

    name: str
    reason: str


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` -> a device that is there.

    Raises:
        ValueError: for any other name, or a device that this machine does not have.
    """
    name = str(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    numbered = name == kind or (kind == "cuda" and index.isdigit())
    if kind not in ("cpu", "cuda", "mps") or not numbered:
        raise ValueError(f"Expected a device out of {', '.join(DEVICES)}, got {name!r}.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"Expected a CUDA device for {name!r}, found none; use device='cpu'.")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"Expected a CUDA device below cuda:{count}, got {name!r}.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError("Expected Apple's MPS for 'mps', found none; use device='cpu'.")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> PrecisionChoice:
    """``auto``, ``fp32``, ``bf16`` or ``fp16`` -> what runs on ``device``, and why.

    ``auto`` is bf16 only where the hardware multiplies it natively, by matrix units; where nobody
    has measured it, it is fp32.

    Raises:
        ValueError: for any other name.
    """
    if name not in PRECISIONS:
        raise ValueError(f"Expected a precision out of {', '.join(PRECISIONS)}, got {name!r}.")
    if name != "auto":
        return PrecisionChoice(name, "as asked")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return PrecisionChoice("bf16", "this GPU multiplies it natively")
        return PrecisionChoice("fp32", "this GPU has no native bf16")
    if device.type == "mps":
        return PrecisionChoice("fp32", "bf16 has not been measured on Apple's GPUs")
    if _cpu_has("amx_tile"):
        return PrecisionChoice("bf16", "this CPU has matrix units for it (AMX)")
    if _cpu_has("avx512_bf16"):
        reason = "this CPU has AVX512-BF16 but no matrix units; ask for bf16 to try it"
        return PrecisionChoice("fp32", reason)
    return PrecisionChoice("fp32", "no native bf16 found on this CPU")


def _cpu_has(feature: str) -> bool:
    probe = getattr(torch.cpu, f"_is_{feature}_supported", None)  # not in every torch
    return bool(probe is not None and probe())


def to_precision(sam: Sam, precision: str, automatic_decoder: UnetrDecoder | None = None) -> None:
    """Have a model compute in ``precision`` (a name that was picked).

    The weights of the encoder, and of the decoder of whole images, are converted once. Prompts keep
    fp32: coordinates need it, and the few tokens of the mask decoder, which cost little, decide
    over the predicted IoU.
    """
    sam.image_encoder.to(_DTYPES[precision])
    if automatic_decoder is not None:
        automatic_decoder.to(_DTYPES[precision])


def devices() -> tuple[str, ...]:
    """Names that `pick_device` takes on this machine, ``auto`` first."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = ["cuda"] if count == 1 else [f"cuda:{i}" for i in range(count)]
    if torch.backends.mps.is_available():
        gpus.append("mps")
    return ("auto", "cpu", *gpus)


def precisions_for(device: torch.device) -> tuple[str, ...]:
    """Precisions worth choosing on a device; fp16 is quick on CUDA only."""
    return PRECISIONS if device.type == "cuda" else PRECISIONS[:3]
