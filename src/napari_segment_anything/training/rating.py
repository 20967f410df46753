"""Teach a model to rate what it drew: ``python -m napari_segment_anything.training.rating``.

The last step of `nano`: all other weights stay as they are.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from ..evaluation.interactive import centre_xy
from ..inference.decoding import decode_points
from ..inference.model import Model
from ..inference.predictor import encode
from ..modeling.mask_rater import MaskRater
from ..modeling.sizes import NANO
from ..zoo.checkpoint import read_checkpoint, write_checkpoint
from ..zoo.loader import load_model
from .data import load_folder
from .synthesis import Rng, Scene

BACKGROUND_PART = 0.05
"""How many of the clicks are on nothing: people click what they see, seldom beside it."""

RIM_PX = 6
"""How far from all objects a click on nothing is."""

STEPS, RATE, DECAY = 1500, 3e-3, 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clicked:
    """What a rater sees of N clicks' masks, (N, 3, 15), and their true IoU (N, 3)."""

    looks: Tensor
    iou: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Clicked]) -> Clicked:
        """All clicks of ``parts``."""
        return cls(torch.cat([p.looks for p in parts]), torch.cat([p.iou for p in parts]))


def click_on(model: Model, scene: Scene, rng: Rng, most: int) -> Clicked:
    """Click objects of a scene, at most ``most``, half of them in the middle; seldom beside them.

    ``model`` has no rater yet.
    """
    ids = np.unique(scene.labels)
    ids = ids[ids > 0]
    ids = rng.choice(ids, min(most, len(ids)), replace=False)
    clicks = [(_point_in(scene.labels == label, rng), int(label)) for label in ids]
    away = ndimage.distance_transform_edt(scene.labels == 0) > RIM_PX
    beside = rng.binomial(most, BACKGROUND_PART) if away.any() else 0
    clicks.extend((_anywhere(away, rng), 0) for _ in range(beside))
    embedding = encode(model, scene.image)
    points_xy = np.array([point for point, _ in clicks], np.float64).reshape(-1, 2)
    found = decode_points(model, embedding, points_xy)
    masks = found.select(torch.ones_like(found.iou, dtype=torch.bool)).masks(0.0)
    masks = masks.unflatten(0, found.iou.shape)
    true = torch.from_numpy(np.stack([scene.labels == label for _, label in clicks]))
    union = (masks | true[:, None]).sum((-2, -1)).clamp(min=1)
    iou = (masks & true[:, None]).sum((-2, -1)) / union
    real = torch.tensor([label > 0 for _, label in clicks])
    return Clicked(MaskRater.looks(found.iou, found.logits).clone(), iou * real[:, None])


def _point_in(mask: NDArray[np.bool_], rng: Rng) -> tuple[float, float]:
    return centre_xy(mask) if rng.random() < 0.5 else _anywhere(mask, rng)


def _anywhere(mask: NDArray[np.bool_], rng: Rng) -> tuple[float, float]:
    y, x = np.argwhere(mask)[rng.integers(np.count_nonzero(mask))]
    return float(x), float(y)


def fit_rater(clicked: Clicked, hidden_dim: int, seed: int = 0) -> MaskRater:
    """A rater that says of masks by how they look what their IoU is, in absolute error."""
    torch.manual_seed(seed)
    rater = MaskRater(hidden_dim)
    optimiser = torch.optim.AdamW(rater.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = F.l1_loss(rater.mlp(clicked.looks)[..., 0], clicked.iou)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    log.info("%d clicks, off by %.3f", len(clicked.iou), float(loss.detach()))
    return rater


def teach(model: Model, scenes: Sequence[Scene], most: int, rng: Rng, seed: int) -> None:
    """Give ``model`` a rater, taught by at most about ``most`` clicks on each of ``scenes``."""
    decoder = model.sam.mask_decoder
    decoder.rater = None
    clicked = Clicked.joined([click_on(model, scene, rng, most) for scene in scenes])
    decoder.rater = fit_rater(clicked, NANO.rater_hidden_dim, seed)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Teach a model to rate what it has drawn.")
    parser.add_argument("--data", type=Path, required=True, help="images/, labels/, split.csv")
    parser.add_argument("--weights", type=Path, required=True, help="the model's file")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--images", type=int, help="how many are clicked on; all if not given")
    parser.add_argument("--most", type=int, default=30, help="clicks an image, about")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    checkpoint = read_checkpoint(args.weights)
    model = load_model(args.weights, device="cpu", precision="fp32")
    rng = np.random.default_rng(args.seed)
    scenes = [scene for scene in load_folder(args.data, "train") if scene.labels.any()]
    drawn = rng.permutation(len(scenes))[: args.images]
    teach(model, [scenes[i] for i in drawn], args.most, rng, args.seed)
    config = replace(checkpoint.config, rater_hidden_dim=NANO.rater_hidden_dim)
    write_checkpoint(args.out, model.sam, config, dict(checkpoint.metadata), half=True)


if __name__ == "__main__":
    main()
