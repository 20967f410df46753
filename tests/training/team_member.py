"""What each process of ``test_team`` does: ``torchrun -m tests.training.team_member FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tests.training.test_trainer import CROPS, SMALL

from napari_segment_anything.modeling.sizes import build_sam
from napari_segment_anything.training.data import CropBatches
from napari_segment_anything.training.team import joined
from napari_segment_anything.training.trainer import Trainer, TrainSettings

LAST = torch.channels_last


def main(folder: Path) -> None:
    """Share two gradients, take two steps, and write down what came of it."""
    with joined() as team:
        weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        weights[0].grad = torch.tensor([1.0 + team.rank])
        if team.leads:
            weights[1].grad = torch.tensor([4.0])
        kernel = torch.nn.Parameter(torch.arange(72.0).view(2, 4, 3, 3).to(memory_format=LAST))
        kernel.grad = kernel.detach() * (1 + team.rank)
        team.share_gradients([*weights, kernel])
        torch.manual_seed(0)
        settings = TrainSettings(steps=2, warmup_steps=0, learning_rate=1e-2)
        run = Trainer(build_sam(SMALL), settings, folder, team)
        begun = total(run)
        batches = CropBatches([], CROPS, batch=1, seed=0, synthetic_pool=4)
        crops = [batches[turn] for turn in team.turns(0, 2)]
        for crop in crops:
            run.train_step(crop)
        told = {
            "shared": [float(w.grad) for w in weights],
            "kernel": [torch.equal(kernel.grad, 1.5 * kernel), kernel.grad.stride()],
            "crops": [float(crop.image.double().sum()) for crop in crops],
            "begun": begun,
            "weights": total(run),
        }
        (folder / f"{team.rank}.json").write_text(json.dumps(told))


def total(run: Trainer) -> list[float]:
    """What tells the weights of one model from another's."""
    return [float(p.detach().double().sum()) for p in run.sam.parameters()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
