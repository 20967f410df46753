"""Train the built-in model: ``python -m napari_segment_anything.training.nano --data FOLDER``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from ..inference.runtime import pick_device, pick_precision
from ..modeling.sam import Sam
from ..modeling.sizes import NANO, ConvConfig, build_sam
from ..zoo.checkpoint import read_checkpoint, write_checkpoint
from .data import CropBatches, CropSettings, load_folder
from .team import Team, joined
from .trainer import Trainer, TrainSettings

CARD = {
    "description": "small built-in model for cells and similar objects",
    "automask": {
        "points_per_side": 24,
        "points_per_batch": 16,
        "pred_iou_thresh": 0.65,
        "stability_score_thresh": 0.5,
        "box_nms_thresh": 0.3,
    },
    "least_foreground": 0.3,
}
"""What the weights say of themselves; thresholds by AP on train images, mean and at 0.5."""

USUAL = CropSettings(
    zoom_spread=0.3,
    synthetic_part=0.1,
    empty_part=0.12,
    stained_part=0.1,
    bent_part=0.25,
    changed_part=0.35,
)
"""Crops nearer to usual images: `nano` is too small to learn all that is drawn for it as well."""

WEIGHTS = "nano.safetensors"
CPU = torch.device("cpu")

log = logging.getLogger(__name__)


def train(
    data: Path,
    folder: Path,
    settings: TrainSettings,
    crops: CropSettings,
    start: Path | None = None,
    team: Team | None = None,
    device: torch.device = CPU,
) -> Path:
    """Train `nano` on the train images of ``data`` and on synthesis; returns the weights' path.

    The run's state is in ``folder``; started again, it goes on where it was. A new run begins
    with the weights of the checkpoint ``start``, or with random ones. All processes of a ``team``
    call this alike.

    Raises:
        ValueError: ``start`` is of another model.
    """
    team = team or Team()
    if device.type == "cuda":  # matrix units for the decoder, too, which stays in 32 bits
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(settings.seed)
    sam = build_sam(NANO).to(device)
    if start is not None:
        begin_from(sam, start)
    trainer = Trainer(sam, settings, folder, team)
    resumed = trainer.resume()
    log.info("%s at step %d of %d", "resumed" if resumed else "new", trainer.step, settings.steps)
    batches = CropBatches(load_folder(data, "train"), crops, settings.batch, settings.seed)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=team.turns(trainer.step, settings.steps),
        num_workers=settings.workers,
        prefetch_factor=3,
        pin_memory=device.type == "cuda",
    )
    sums: dict[str, list[float]] = {}
    since = time.monotonic()
    for batch in loader:
        for name, value in trainer.train_step(batch).items():
            sums.setdefault(name, []).append(value)
        if trainer.step % 25 == 0:
            means = "  ".join(f"{k} {sum(v) / len(v):.3f}" for k, v in sorted(sums.items()))
            log.info(
                "step %d  %.2f s each  %s", trainer.step, (time.monotonic() - since) / 25, means
            )
            sums, since = {}, time.monotonic()
        if trainer.step % settings.save_every == 0:
            keep(trainer)
    keep(trainer)
    return trainer.folder / WEIGHTS


def begin_from(sam: Sam, path: Path) -> None:
    """Give a new `nano` the weights of an older one, which may lack some of its residual blocks.

    Such a block starts as an identity, so that the new model answers as the old one did. So does
    the block after the transformer. A second rating that is lacking is learnt from the beginning.

    Raises:
        ValueError: the file is of another model.
    """
    begun = read_checkpoint(path)
    encoder = begun.config.encoder
    if isinstance(encoder, ConvConfig):
        encoder = dataclasses.replace(encoder, depths=ConvConfig.depths)
    grown = dataclasses.replace(
        begun.config,
        encoder=encoder,
        settling_dim=begun.config.settling_dim or NANO.settling_dim,
        rater_hidden_dim=begun.config.rater_hidden_dim or NANO.rater_hidden_dim,
    )
    deeper = set(begun.state_dict) - set(sam.state_dict())
    if deeper or grown != NANO:
        raise ValueError(
            f"Expected weights of nano in {path}, got others; it may lack blocks, but has none of "
            "another size."
        )
    sam.load_state_dict(begun.state_dict, strict=False)


def keep(trainer: Trainer) -> None:
    """Write the run's state and, in half precision, its averaged weights; the leader alone does."""
    if not trainer.team.leads:
        return
    trainer.save()
    metadata = {"name": "nano", "step": str(trainer.step), "card": json.dumps(CARD)}
    write_checkpoint(trainer.folder / WEIGHTS, trainer.averaged, NANO, metadata, half=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the built-in nano model.")
    parser.add_argument("--data", type=Path, required=True, help="images/, labels/, split.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/nano"), help="state and weights")
    parser.add_argument("--steps", type=int, default=TrainSettings.steps)
    parser.add_argument("--seed", type=int, default=TrainSettings.seed)
    parser.add_argument("--learning-rate", type=float, default=TrainSettings.learning_rate)
    parser.add_argument("--usual", action="store_true", help="crops nearer to usual images")
    parser.add_argument("--batch", type=int, default=TrainSettings.batch, help="crops a process")
    parser.add_argument(
        "--workers", type=int, default=TrainSettings.workers, help="that draw a process's crops"
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--begin-with", type=Path, help="begin with the weights of this checkpoint")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = pick_device(args.device)
    # Where the hardware does not multiply bf16, emulating it takes several times as long as fp32.
    precision = pick_precision("auto", device).name
    settings = TrainSettings(
        args.steps,
        learning_rate=args.learning_rate,
        batch=args.batch,
        workers=args.workers,
        seed=args.seed,
        bf16=precision == "bf16",
    )
    with joined() as team:
        # What all processes share is told once.
        logging.disable(logging.NOTSET if team.leads else logging.INFO)
        crops = USUAL if args.usual else CropSettings()
        path = train(args.data, args.out, settings, crops, args.begin_with, team, device)
        log.info("weights in %s", path)


if __name__ == "__main__":
    main()
