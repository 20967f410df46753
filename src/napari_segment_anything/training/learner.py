"""A model on its way through a run: steps, and the whole state between two of them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..modeling.sam import Sam
from .crops import CropCache, CropSource, Encoded, ahead, encoded
from .data import Crop, stacked
from .dense import DenseHead
from .losses import mask_loss as balanced_loss
from .optimiser import BETAS, cosine_part, layer_parts, layered_groups, stepped_part
from .precision import MixedPrecision
from .prompting import Rules, Tally, begin, prompted_rounds
from .recipe import error_points, first_kinds, focal_dice_loss, judged, round_plan
from .scope import choose_trained, set_training, trained_parameters
from .settings import FitSettings
from .views import Targets, draw_targets

MASK_LOSSES = {"focal": focal_dice_loss, "balanced": balanced_loss}
FINAL_RATE = 0.01
Batch = Callable[[], Encoded]


class Relay:
    """A tensor cut off from its graph, for several losses that go backward one after the other.

    Losses on ``cut`` free their memory as they go; `flush` passes their gradients on, summed.
    """

    def __init__(self, source: Tensor) -> None:
        self._source = source
        self.cut = source.detach().requires_grad_(source.requires_grad)

    def flush(self) -> None:
        """Send what has arrived at ``cut`` on to where the tensor came from."""
        if self.cut.grad is not None:
            self._source.backward(self.cut.grad)  # type: ignore[no-untyped-call]


class Learner:
    """``sam`` and its dense ``heads`` in training by ``settings``, which are settled.

    ``source`` makes their crops, ``precision`` says in which they compute.
    """

    def __init__(
        self,
        sam: Sam,
        heads: Sequence[DenseHead],
        settings: FitSettings,
        source: CropSource,
        precision: MixedPrecision,
    ) -> None:
        self.sam = sam
        self.heads = heads
        self.settings = settings
        self.source = source
        self.precision = precision
        choose_trained(sam, settings, heads)
        self.trained = trained_parameters(sam, heads)
        whole = settings.what == "all"
        part_of = layer_parts(sam.image_encoder, settings.layer_decay if whole else 1.0)
        self.optimiser = torch.optim.AdamW(
            layered_groups(self.trained.items(), settings.weight_decay, part_of),
            betas=BETAS,
            fused=precision.device.type in ("cpu", "cuda"),
        )
        self.scaler = precision.scaler()
        self.step = 0
        self._means = [p.detach().clone() for p in self.trained.values()]

    @property
    def trains_encoder(self) -> bool:
        """Whether embeddings change from step to step."""
        return self.settings.what != "decoder"

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, but for what the run's folder and data tell."""
        return {
            "step": self.step,
            "weights": {name: p.detach() for name, p in self.trained.items()},
            "means": dict(zip(self.trained, self._means, strict=True)),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    @torch.no_grad()
    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        for name, value in state["weights"].items():
            self.trained[name].copy_(value)
        for name, mean in zip(self.trained, self._means, strict=True):
            mean.copy_(state["means"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])

    @contextmanager
    def averaged(self) -> Iterator[Sam]:
        """The model with the moving average of its weights in their places, as long as it lasts.

        Single steps are noisy, with a few objects each; their mean is better, and steadier.
        """
        newest = [p.data for p in self.trained.values()]
        for p, mean in zip(self.trained.values(), self._means, strict=True):
            p.data = mean
        try:
            yield self.sam
        finally:
            for p, data in zip(self.trained.values(), newest, strict=True):
                p.data = data

    def run(self) -> Iterator[dict[str, float]]:
        """Steps from where the run stands to its end; yields the means of what each measured.

        Raises:
            RuntimeError: a loss that is no number any more; the last update was the one before.
        """
        per_step, last = self.settings.accumulate, self.settings.steps
        with closing(self._batches(range(self.step * per_step, last * per_step))) as batches:
            while self.step < last:
                yield self._update(itertools.islice(batches, per_step))

    def _batches(self, numbers: range) -> Generator[Batch]:
        """Of each number a batch, ready to be encoded or taken from those kept."""
        size, kept = self.settings.batch, self.settings.cached_crops
        if kept and not self.trains_encoder:
            cache = CropCache(self.source, kept, self._encode)
            for n in numbers:
                yield partial(cache.batch, range(n * size, (n + 1) * size))
            return

        def crops(n: int) -> Crop:
            return stacked([self.source(n * size + i) for i in range(size)])

        for made in ahead(crops, numbers):
            yield partial(self._encode, made)

    def _encode(self, crops: Crop) -> Encoded:
        with self.precision.autocast(), torch.set_grad_enabled(self.trains_encoder):
            return encoded(self.sam, crops)

    def _update(self, batches: Iterable[Batch]) -> dict[str, float]:
        """One update of the weights from the gradients of a few batches."""
        started = time.perf_counter()
        seed = self.settings.seed * 1_000_003 + self.step
        generator = torch.Generator().manual_seed(seed)
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["rate_part"]
        tally, loss = Tally(), 0.0
        set_training(self.sam, True)
        self.optimiser.zero_grad(set_to_none=True)
        device = self.precision.device
        # Drop path draws from torch's own generator.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for batch in batches:
                loss += self._pass_back(batch(), generator, tally)
        if not math.isfinite(loss):
            raise RuntimeError(
                f"Expected a finite loss at step {self.step + 1}, got {loss}; train in another "
                f"folder at a lower learning rate than {rate:g}, or with precision fp32."
            )
        if any(p.grad is not None for p in self.trained.values()):  # none without an object
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.trained.values(), self.settings.clip_norm)
            self.scaler.step(self.optimiser)
            self.scaler.update()
        set_training(self.sam, False)
        self._average()
        self.step += 1
        seconds = time.perf_counter() - started
        return {"loss": loss, **tally.means(), "rate": rate, "seconds": seconds}

    @torch.no_grad()
    def _average(self) -> None:
        """Move the means towards the weights; quick at first."""
        decay = min(self.settings.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._means, list(self.trained.values()), 1 - decay)

    def _rate(self) -> float:
        s = self.settings
        warmup, highest = s.warmup_steps or 1, s.learning_rate or 0.0
        if s.schedule == "step":
            return highest * stepped_part(self.step, s.steps, warmup)
        return highest * cosine_part(self.step, s.steps, warmup, FINAL_RATE)

    def _pass_back(self, batch: Encoded, generator: torch.Generator, tally: Tally) -> float:
        """Gradients of all losses on one batch, added to those there are; returns their sum."""
        features = Relay(batch.features)
        total = 0.0
        for head in self.heads:
            with self.precision.autocast():
                loss = head.loss(features.cut, batch.labels)
            tally.add(head.name, loss)
            total += self._backward(loss * self.settings.dense_weight)
        for name, targets in self._groups(batch, generator):
            total += self._prompted(name, targets, features.cut, batch.labels, generator, tally)
        features.flush()
        return total

    def _groups(self, batch: Encoded, generator: torch.Generator) -> Sequence[tuple[str, Targets]]:
        """Objects of the crops by the kind of their first prompt; none if there are no objects."""
        cell_px = batch.labels.shape[-1] // batch.features.shape[-1]
        step = max(1, cell_px // 4)
        # Its ratings seed nothing where nothing is. Where no head learns what is background,
        # labels may be missing, and what has none is not called background either.
        asks_background = not self.sam.is_square and bool(self.heads)
        targets = draw_targets(
            batch.labels[:, ::step, ::step],
            self.settings.objects_per_crop + int(asks_background),
            generator,
            asks_background,
        )
        boxes = first_kinds(len(targets.ids), self.settings.box_part, generator)
        boxes &= targets.ids > 0  # a box around nothing is no prompt
        groups = (("point", targets.rows(~boxes)), ("box", targets.rows(boxes)))
        return [(name, rows) for name, rows in groups if len(rows.ids)]

    def _prompted(
        self,
        name: str,
        targets: Targets,
        features: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        tally: Tally,
    ) -> float:
        """Rounds of prompting the objects of one group, each passed back by itself."""
        s = self.settings
        view, told = begin(self.sam, features, labels, targets, name, generator)
        image = Relay(view.features)
        view.features = image.cut
        rules = Rules(
            partial(judged, mask_loss=MASK_LOSSES[s.mask_loss]),
            partial(error_points, generator=generator),
            self.precision.autocast,
        )
        plan = round_plan(s.corrections or 0, s.still_rounds or 0, generator)
        share = len(targets.ids) / (s.batch * s.objects_per_crop) / (1 + len(plan))
        real = targets.ids > 0
        rounds = prompted_rounds(self.sam, view, told, real, iter(plan), rules, name, tally)
        total = sum(self._backward(loss * share) for loss in rounds)
        image.flush()
        return total

    def _backward(self, loss: Tensor) -> float:
        """Pass a loss back; returns it."""
        part = loss / self.settings.accumulate
        if part.requires_grad:
            self.scaler.scale(part).backward()  # type: ignore[no-untyped-call]
        return float(part.detach())
