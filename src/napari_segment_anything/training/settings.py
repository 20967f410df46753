"""`FitSettings`: every setting of a training run, once, with range and help; no torch needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..config import PRECISIONS
from ..settings import check_all, setting

WHAT = ("decoder", "lora", "all")
SCHEDULES = ("cosine", "step")
MASK_LOSSES = ("auto", "focal", "balanced")
AUTOMATIC_DECODERS = ("auto", "add", "keep")
RATES = {"decoder": 2e-4, "lora": 1e-4, "all": 2e-5}


@dataclass(frozen=True)
class FitSettings:
    """How a run trains; what is None is chosen by model and device (`settled`).

    Raises:
        ValueError: a value out of its range; the message says what can be.
    """

    steps: int = setting(300, label="Steps", help="Updates of the weights.", min=1, max=10_000_000)
    what: str = setting(
        "decoder",
        label="What to train",
        help="decoder: the encoder stays as it is. lora: also small adapters on a ViT's attention. "
        "all: every weight.",
        choices=WHAT,
    )
    learning_rate: float | None = setting(
        None,
        kind=float,
        label="Learning rate",
        help="Highest rate of the run. By default 2e-4 for decoder, 1e-4 for lora, 2e-5 for all.",
        min=1e-8,
        max=1.0,
    )
    crop_px: int | None = setting(
        None,
        kind=int,
        label="Crop",
        help="Side of a training crop. A ViT's is in image pixels and enlarged to its square, by "
        "default 512; nano's is in model pixels, by default 384.",
        min=32,
        max=4096,
    )
    batch: int = setting(1, label="Batch", help="Crops that are encoded together.", min=1, max=256)
    accumulate: int = setting(
        1,
        label="Accumulate",
        help="Batches whose gradients are added up before an update; needs no more memory.",
        min=1,
        max=256,
    )
    objects_per_crop: int = setting(
        8, label="Objects per crop", help="Objects prompted in each crop.", min=1, max=64
    )
    box_part: float = setting(
        0.5,
        label="Boxes",
        help="Part of the objects whose first prompt is a box; the others begin with a point.",
        min=0.0,
        max=1.0,
    )
    corrections: int | None = setting(
        None,
        kind=int,
        label="Corrections",
        help="Corrective points after the first prompt. By default 8 as in the paper, 1 on a CPU.",
        min=0,
        max=8,
    )
    still_rounds: int | None = setting(
        None,
        kind=int,
        label="Still rounds",
        help="Rounds in which nothing but the last mask is told: one at the end, one anywhere. By "
        "default 2 as in the paper, 0 on a CPU.",
        min=0,
        max=2,
    )
    mask_loss: str = setting(
        "auto",
        label="Mask loss",
        help="focal: focal and Dice loss, 20 : 1. balanced: cross entropy by object size and Dice. "
        "auto: focal for a ViT, balanced for nano.",
        choices=MASK_LOSSES,
    )
    dense_weight: float = setting(
        1.0,
        label="Dense head",
        help="Weight of the loss of nano's dense head or of the automatic decoder, which find "
        "objects in whole images. With 0 nothing is said of background: right where not every "
        "object is labelled.",
        min=0.0,
        max=100.0,
    )
    automatic_decoder: str = setting(
        "auto",
        label="Automatic decoder",
        help="The decoder with which micro-sam's models segment whole images. auto: it learns "
        "along if the model has one. add: a model without one gets one, and needs thousands of "
        "steps. keep: it stays as it is.",
        choices=AUTOMATIC_DECODERS,
    )
    schedule: str = setting(
        "cosine",
        label="Schedule",
        help="cosine, or step: a tenth after two thirds of the run and again near its end.",
        choices=SCHEDULES,
    )
    warmup_steps: int | None = setting(
        None,
        kind=int,
        label="Warm-up",
        help="Steps in which the rate rises. By default a tenth of the run, at most 250.",
        min=1,
        max=100_000,
    )
    weight_decay: float = setting(0.1, label="Weight decay", help="AdamW's.", min=0.0, max=1.0)
    layer_decay: float = setting(
        0.8,
        label="Layer decay",
        help="A block of a ViT learns at this part of the rate of the block above it.",
        min=0.1,
        max=1.0,
    )
    drop_path: float = setting(
        0.1,
        label="Drop path",
        help="Rate at which the last block of a ViT is left out, if all of it is trained.",
        min=0.0,
        max=0.9,
    )
    clip_norm: float = setting(
        1.0, label="Clip norm", help="Longest gradient of an update.", min=1e-3, max=1e6
    )
    average: float = setting(
        0.98,
        label="Average",
        help="Part of their mean that the validated and saved weights keep at each step, once it "
        "has taken in a few; 0 takes the newest weights.",
        min=0.0,
        max=0.9999,
    )
    lora_rank: int = setting(8, label="LoRA rank", help="Channels of an adapter.", min=1, max=256)
    recompute: bool = setting(
        True,
        label="Recompute blocks",
        help="Compute a ViT block's activations again for its gradients instead of keeping them: "
        "slower by a third, and much less memory.",
    )
    zoom_spread: float = setting(
        0.3,
        label="Zoom spread",
        help="Deviation of the crops' zoom, in powers of two.",
        min=0.0,
        max=2.0,
    )
    augment: float = setting(
        0.5,
        label="Augment",
        help="Part of the crops whose light, colour, focus and noise are changed.",
        min=0.0,
        max=1.0,
    )
    cached_crops: int | None = setting(
        None,
        kind=int,
        label="Cached crops",
        help="Crops whose embeddings are kept and used again while the encoder is not trained; 0 "
        "draws new ones each step. By default 64 on a CPU, 0 on a GPU.",
        min=0,
        max=100_000,
    )
    precision: str = setting(
        "auto",
        label="Precision",
        help="auto, fp32, bf16 or fp16; auto takes bf16 where the hardware multiplies it, fp16 on "
        "older CUDA.",
        choices=PRECISIONS,
    )
    device: str = setting("auto", label="Device", help="auto, cpu, cuda, cuda:N or mps.")
    validate_every: int | None = setting(
        None,
        kind=int,
        label="Validate every",
        help="Steps between two validations, after which the state is saved. By default a fifth "
        "of the run, at most 500.",
        min=1,
        max=1_000_000,
    )
    objects_per_val_image: int = setting(
        16,
        label="Validated objects",
        help="At most so many objects of each validation image are prompted.",
        min=1,
        max=10_000,
    )
    val_images: int = setting(
        32,
        label="Validation images",
        help="At most so many of the validation images are used, spread over all of them.",
        min=1,
        max=100_000,
    )
    patience: int = setting(
        0,
        label="Patience",
        help="Stop after so many validations without a better score; 0 goes on to the end.",
        min=0,
        max=10_000,
    )
    tensorboard: bool = setting(
        False, label="TensorBoard", help="Write event files for TensorBoard, too."
    )
    seed: int = setting(
        0, label="Seed", help="Decides everything that is drawn.", min=0, max=2**31 - 1
    )

    def __post_init__(self) -> None:
        check_all(self)

    def settled(self, *, is_square: bool, on_gpu: bool) -> FitSettings:
        """The settings with every choice made, for a model with a square encoder or another."""
        frozen = self.what == "decoder"
        chosen: dict[str, Any] = {
            "learning_rate": RATES[self.what],
            "crop_px": 512 if is_square else 384,
            "corrections": 8 if on_gpu else 1,
            "still_rounds": 2 if on_gpu else 0,
            "warmup_steps": min(250, max(1, self.steps // 10)),
            "cached_crops": 64 if frozen and not on_gpu else 0,
            "validate_every": min(500, max(1, self.steps // 5)),
        }
        unset = {name: value for name, value in chosen.items() if getattr(self, name) is None}
        loss = self.mask_loss
        if loss == "auto":
            loss = "focal" if is_square else "balanced"
        return replace(self, mask_loss=loss, **unset)
