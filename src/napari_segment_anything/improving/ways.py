"""How much of a model learns, and for how long: defaults that suit a model and a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Way:
    """One way of training; ``what`` is `FitSettings`' name for it."""

    what: str
    label: str
    help: str


DECODER = Way(
    "decoder",
    "Decoder",
    "Only the part that turns prompts into masks learns: minutes, also without a GPU.",
)
ADAPTERS = Way(
    "lora",
    "Decoder and adapters",
    "Small adapters in the encoder learn, too (LoRA): for images unlike those that the model "
    "knows; needs a GPU, or hours.",
)
ALL = Way(
    "all",
    "Everything",
    "Every weight learns: for hundreds of objects and more; needs most time and memory.",
)


@dataclass(frozen=True)
class Machine:
    """What decides the defaults: whether the model is a ViT, and whether it runs on a GPU."""

    is_vit: bool
    on_gpu: bool = False

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways there are; adapters are for a ViT's attention."""
        return (DECODER, ADAPTERS, ALL) if self.is_vit else (DECODER, ALL)

    @property
    def default_way(self) -> Way:
        """Adapters for a ViT on a GPU, else the decoder alone."""
        return ADAPTERS if self.is_vit and self.on_gpu else DECODER

    @property
    def default_steps(self) -> int:
        """Minutes' worth."""
        if self.on_gpu:
            return 500
        return 100 if self.is_vit else 200


def settings_for(
    machine: Machine, way: Way, steps: int, *, all_labelled: bool, device: str
) -> dict[str, Any]:
    """Fields of `FitSettings` by name.

    Where labels are missing, a dense head that finds objects in whole images would learn that
    nothing is there: it learns only if ``all_labelled``.
    """
    settings: dict[str, Any] = {"what": way.what, "steps": steps, "device": device}
    if not all_labelled:
        settings["dense_weight"] = 0.0
    if machine.is_vit and not machine.on_gpu and way is DECODER:
        settings["cached_crops"] = 16  # each takes seconds to encode
    return settings
