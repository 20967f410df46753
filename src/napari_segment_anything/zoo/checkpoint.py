"""Checkpoint files: what they hold, read without ever running code out of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..io.writing import whole_file
from ..modeling.sam import Sam
from ..modeling.sizes import VIT_B, VIT_H, VIT_L, VIT_T, SamConfig, build_sam, without_init
from ..modeling.unetr import UnetrDecoder

CONFIG_KEY = "sam_config"
PATCH_KEY = "image_encoder.patch_embed.proj.weight"
TINY_VIT_KEY = "image_encoder.patch_embed.seq.0.c.weight"
PLAIN_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
BY_WIDTH = {768: VIT_B, 1024: VIT_L, 1280: VIT_H}
DECODER_PREFIX = "automatic_decoder."
"""Of the names of `UnetrDecoder`'s tensors in our own files."""
_BUILDS_NONE = (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError)


class CheckpointError(ValueError):
    """A file that is not what it should be; the message names it, what was expected and found."""


@dataclass(frozen=True)
class Checkpoint:
    """A checked file: its keys and shapes are exactly those of a model of ``config``.

    ``digest`` is the sha256 of the file; ``metadata`` the texts that our own files carry.
    ``decoder_state`` holds the weights of an `UnetrDecoder`, None if the file has none.
    """

    state_dict: Mapping[str, Tensor]
    config: SamConfig
    digest: str
    metadata: Mapping[str, str]
    decoder_state: Mapping[str, Tensor] | None = None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read an official ``.pth``, a micro-sam checkpoint or a ``.safetensors`` file, on the CPU.

    Raises:
        CheckpointError: missing, truncated, foreign or tampered; nothing has been changed.
    """
    path = _existing(path)
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
        decoder_state = _taken_out(state)
    else:
        state, decoder_state = _model_and_decoder(path, _read_torch(path))
        metadata = {}
    _check_plain(path, state)
    config = _config_of(path, state, metadata)
    _check_model(path, state, config)
    if decoder_state:
        _check_decoder(path, decoder_state, config)
    return Checkpoint(state, config, file_digest(path), metadata, decoder_state or None)


def read_decoder(path: str | Path, config: SamConfig) -> Mapping[str, Tensor]:
    """Weights of an `UnetrDecoder` for a model of ``config``, from a file that holds nothing else.

    Raises:
        CheckpointError: as for `read_checkpoint`, or made for another model's embedding.
    """
    path = _existing(path)
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)[0]
        state = _taken_out(state) or state
    else:
        state = _named_tensors(path, _read_torch(path))
    # A whole UNETR may have been saved; its encoder is the model's.
    state = {k: v for k, v in state.items() if not k.startswith("encoder.")}
    _check_decoder(path, state, config)
    return state


def write_checkpoint(
    path: str | Path,
    sam: Sam,
    config: SamConfig,
    metadata: Mapping[str, str] | None = None,
    *,
    half: bool = False,
    automatic_decoder: UnetrDecoder | None = None,
) -> None:
    """Write a model with its configuration as safetensors; the file appears whole or not at all.

    ``half`` stores floating tensors in 16 bits; they are read back as 32. ``automatic_decoder``
    goes into the same file, and comes back with the model.
    """
    path = Path(path)
    tensors = dict(sam.state_dict())
    if automatic_decoder is not None:
        more = automatic_decoder.state_dict()
        tensors.update({DECODER_PREFIX + name: tensor for name, tensor in more.items()})
    state = {}
    for name, tensor in tensors.items():
        stored = tensor.half() if half and tensor.is_floating_point() else tensor
        state[name] = stored.detach().cpu().contiguous().clone()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        save_file(state, partial, {**(metadata or {}), CONFIG_KEY: config.to_json()})
        partial.chmod(0o644)  # safetensors makes its files private


def file_digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "none"
        raise CheckpointError(f"Expected a checkpoint file at {path}, found {found}.")
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a complete safetensors file, found one that cannot be read "
            f"({error}); download or export it again."
        ) from error
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, metadata


def _taken_out(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's part of one of our own files, which leaves ``state``."""
    names = [name for name in state if name.startswith(DECODER_PREFIX)]
    return {name.removeprefix(DECODER_PREFIX): state.pop(name) for name in names}


def _read_torch(path: Path) -> Any:
    """What is in a PyTorch file: dicts, lists, numbers and tensors."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises many types for foreign bytes
        raise CheckpointError(
            f"{path}: expected a PyTorch file of tensors only, found one that cannot be read "
            f"safely ({type(error).__name__}); it is truncated, foreign, or holds code."
        ) from error


def _model_and_decoder(path: Path, content: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parts of an official or micro-sam file, the model's keys as in the official ones."""
    decoder_state: dict[str, Tensor] = {}
    if isinstance(content, dict) and "model_state" in content:
        decoder_state = _named_tensors(path, content.get("decoder_state", {}))
        content = content["model_state"]
    state = _named_tensors(path, content)
    return {key.removeprefix("sam."): value for key, value in state.items()}, decoder_state


def _named_tensors(path: Path, content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        found = (
            sorted(map(str, content))[:3] if isinstance(content, dict) else type(content).__name__
        )
        raise CheckpointError(f"{path}: expected a dict of tensors by name, found {found}.")
    return dict(content)


def _config_of(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> SamConfig:
    if CONFIG_KEY in metadata:
        try:
            return SamConfig.from_json(metadata[CONFIG_KEY])
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from error
    if TINY_VIT_KEY in state:
        return VIT_T
    if PATCH_KEY not in state:
        raise CheckpointError(
            f"{path}: expected a Segment Anything checkpoint with {PATCH_KEY}, or MobileSAM's "
            f"with {TINY_VIT_KEY}, found {len(state)} tensors such as {sorted(state)[:3]}."
        )
    shape = tuple(state[PATCH_KEY].shape)
    width = shape[0] if len(shape) == 4 else 0
    if width not in BY_WIDTH:
        raise CheckpointError(
            f"{path}: expected an encoder of width {', '.join(map(str, BY_WIDTH))}, found "
            f"{PATCH_KEY} of shape {shape}."
        )
    return BY_WIDTH[width]


def _check_model(path: Path, state: Mapping[str, Tensor], config: SamConfig) -> None:
    """Compare with the model that the configuration builds, without making its weights."""
    try:
        with torch.device("meta"), without_init():
            wanted = build_sam(config).state_dict()
    except _BUILDS_NONE as error:
        raise CheckpointError(f"{path}: its configuration builds no model ({error}).") from error
    _check_same_tensors(path, state, wanted, "a Segment Anything model")


def _check_decoder(path: Path, state: Mapping[str, Tensor], config: SamConfig) -> None:
    """As `_check_model`, for a decoder of the embeddings that models of ``config`` make."""
    _check_plain(path, state)
    try:
        with torch.device("meta"), without_init():
            decoder = UnetrDecoder.fitting(state)
            wanted = decoder.state_dict()
    except _BUILDS_NONE as error:
        raise CheckpointError(f"{path}: {error}") from error
    _check_same_tensors(path, state, wanted, "an automatic-segmentation decoder")
    if decoder.in_chans != config.prompt_embed_dim:
        raise CheckpointError(
            f"{path}: expected a decoder of embeddings with {config.prompt_embed_dim} channels, "
            f"found one for {decoder.in_chans}; it belongs to another model."
        )


def _check_same_tensors(
    path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str
) -> None:
    """See that names and shapes are those of ``wanted``, and all numbers finite."""
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: expected the {len(wanted)} tensors of {what}, found "
            f"{len(missing)} missing {missing[:3]} and {len(extra)} unknown {extra[:3]}."
        )
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path}: expected {name} of shape {tuple(wanted[name].shape)}, "
                f"found {tuple(tensor.shape)}."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: expected finite weights, found NaN or inf in {name}.")


def _check_plain(path: Path, state: Mapping[str, Tensor]) -> None:
    """See that all tensors are ordinary numbers in memory, as a model's weights are."""
    for name, tensor in state.items():
        is_plain = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
        if not is_plain or tensor.dtype not in PLAIN_DTYPES:
            kind = "quantized" if tensor.is_quantized else f"{tensor.layout} {tensor.dtype}"
            raise CheckpointError(
                f"{path}: expected plain floating-point weights, found {name} as {kind} on "
                f"{tensor.device}; export the model in float32."
            )
