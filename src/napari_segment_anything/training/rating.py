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
from ..evaluation.matching import iou_in_place
from ..inference.decoding import DecodedMasks, ModelPrompts, decode, decode_points
from ..inference.model import Model
from ..inference.predictor import encode
from ..inference.windows import Window
from ..modeling.mask_rater import LOOKS, MaskRater
from ..modeling.sizes import NANO
from ..structures import Embedding
from ..zoo.checkpoint import read_checkpoint, write_checkpoint
from ..zoo.loader import load_model
from .crops import turned
from .data import load_folder
from .synthesis import Rng, Scene

MIDDLE_PART = 0.75
"""How many of the clicks on objects are in the middle; the others are anywhere."""

BACKGROUND_PART = 0.05
"""How many of the clicks are on nothing: people click what they see, seldom beside it."""

RIM_PX = 6
"""How far from all objects a click on nothing is."""

STEPS, BATCH, RATE, DECAY = 2000, 2048, 3e-3, 0.3
FORGOTTEN_PART = 0.2
"""How much of what it sees is hidden from a rater while it learns."""

Point = tuple[float, float]
"""(x, y) in image pixels."""

Labels = NDArray[np.int32]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clicked:
    """What a rater sees of N clicks' masks, (N, 3, F), and their true IoU (N, 3)."""

    seen: Tensor
    iou: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Clicked]) -> Clicked:
        """All clicks of ``parts``."""
        return cls(torch.cat([p.seen for p in parts]), torch.cat([p.iou for p in parts]))


def click_on(model: Model, scene: Scene, rng: Rng, most: int) -> Clicked:
    """Click objects of a scene, at most ``most``, the most of them in the middle; few beside them.

    ``model`` has no rater yet.
    """
    embedding = encode(model, scene.image)
    clicks = _clicks_of(scene.labels, rng, most)
    points_xy = np.array([point for point, _ in clicks], np.float64).reshape(-1, 2)
    found = decode_points(model, embedding, points_xy)
    iou = _true_iou(found, scene.labels, [label for _, label in clicks])
    return Clicked(what_is_seen(model, embedding, points_xy, found.windows), iou)


def _clicks_of(labels: Labels, rng: Rng, most: int) -> list[tuple[Point, int]]:
    """Points on objects, at most ``most``, with their labels; few beside them, with label 0."""
    ids = np.unique(labels)
    ids = ids[ids > 0]
    ids = rng.choice(ids, min(most, len(ids)), replace=False)
    clicks = [(_point_in(labels == label, rng), int(label)) for label in ids]
    away = ndimage.distance_transform_edt(labels == 0) > RIM_PX
    beside = rng.binomial(most, BACKGROUND_PART) if away.any() else 0
    return clicks + [(_anywhere(away, rng), 0) for _ in range(beside)]


def _point_in(mask: NDArray[np.bool_], rng: Rng) -> Point:
    return centre_xy(mask) if rng.random() < MIDDLE_PART else _anywhere(mask, rng)


def _anywhere(mask: NDArray[np.bool_], rng: Rng) -> Point:
    y, x = np.argwhere(mask)[rng.integers(np.count_nonzero(mask))]
    return float(x), float(y)


def _true_iou(found: DecodedMasks, labels: Labels, wanted: Sequence[int]) -> Tensor:
    """IoU (N, 3) of the masks of N clicks with the object of each; 0 where that is background."""
    sizes = np.bincount(labels.ravel())
    iou = np.zeros(found.iou.numel(), np.float32)
    for stack in found.select(torch.ones_like(found.iou, dtype=torch.bool)).stacks():
        masks = (stack.logits > 0).cpu().numpy()
        for mask, origin_yx, i in zip(masks, stack.origins_yx, stack.index, strict=True):
            label = wanted[i // found.iou.shape[1]]
            if label:
                iou[i] = iou_in_place(mask, origin_yx, labels, label, sizes[label])
    return torch.from_numpy(iou).view(found.iou.shape)


def what_is_seen(
    model: Model, embedding: Embedding, points_xy: NDArray[np.float64], windows: Sequence[Window]
) -> Tensor:
    """What a rater sees of the masks of N points, each in its window: (N, 3, F)."""
    decoder = model.sam.mask_decoder
    rater = MaskRater(decoder.transformer_dim, 1)
    seen: list[Tensor] = []
    rater.mlp.register_forward_pre_hook(lambda _mlp, inputs: seen.append(inputs[0]))
    at = embedding.tiles[0].frame.points_to_model(points_xy)
    prompts = ModelPrompts(at[:, None], np.ones((len(at), 1), np.int64))
    decoder.rater = rater
    try:
        decode(model, embedding, prompts, windows, True)
    finally:
        decoder.rater = None
    return torch.cat(seen)


def fit_rater(clicked: Clicked, hidden_dim: int, seed: int = 0) -> MaskRater:
    """A rater that says of masks by what is seen of them what their IoU is, in absolute error."""
    torch.manual_seed(seed)
    rater = MaskRater(clicked.seen.shape[-1] - LOOKS, hidden_dim)
    optimiser = torch.optim.AdamW(rater.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        some = torch.randint(len(clicked.iou), (BATCH,))
        seen = F.dropout(clicked.seen[some], FORGOTTEN_PART)
        loss = F.l1_loss(rater.mlp(seen)[..., 0], clicked.iou[some])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    off = (rater.mlp(clicked.seen)[..., 0] - clicked.iou).abs().mean()
    log.info("%d clicks, off by %.3f", len(clicked.iou), float(off.detach()))
    return rater


def teach(
    model: Model, scenes: Sequence[Scene], most: int, rng: Rng, seed: int, views: int = 1
) -> None:
    """Give ``model`` a rater, taught by about ``most`` clicks on each of some ``views`` of scenes.

    Turned and mirrored, a scene is answered anew.
    """
    decoder = model.sam.mask_decoder
    decoder.rater = None
    seen = [turned(scene, rng) for _ in range(views) for scene in scenes]
    clicked = Clicked.joined([click_on(model, scene, rng, most) for scene in seen])
    decoder.rater = fit_rater(clicked, NANO.rater_hidden_dim, seed)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Teach a model to rate what it has drawn.")
    parser.add_argument("--data", type=Path, required=True, help="images/, labels/, split.csv")
    parser.add_argument("--weights", type=Path, required=True, help="the model's file")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--images", type=int, help="how many are clicked on; all if not given")
    parser.add_argument("--most", type=int, default=30, help="clicks an image, about")
    parser.add_argument("--views", type=int, default=2, help="of an image, turned and mirrored")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    checkpoint = read_checkpoint(args.weights)
    model = load_model(args.weights, device="cpu", precision="fp32")
    rng = np.random.default_rng(args.seed)
    scenes = [scene for scene in load_folder(args.data, "train") if scene.labels.any()]
    drawn = rng.permutation(len(scenes))[: args.images]
    teach(model, [scenes[i] for i in drawn], args.most, rng, args.seed, args.views)
    config = replace(checkpoint.config, rater_hidden_dim=NANO.rater_hidden_dim)
    write_checkpoint(args.out, model.sam, config, dict(checkpoint.metadata), half=True)


if __name__ == "__main__":
    main()
