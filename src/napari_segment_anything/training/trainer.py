"""Train a promptable model from labelled images; stops anywhere and resumes exactly."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..io.writing import whole_file
from ..modeling.conv_encoder import ConvEncoder
from ..modeling.sam import Sam
from .data import CropBatch
from .losses import dense_loss
from .optimiser import cosine_part, parameter_groups
from .prompting import FIRST_PROMPTS, Tally, interactive_loss
from .team import Team
from .views import draw_targets


@dataclass(frozen=True)
class TrainSettings:
    """Schedule and optimiser of one run."""

    steps: int = 5000
    warmup_steps: int = 200
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    batch: int = 4  # crops a process
    workers: int = 1  # that draw a process's crops
    prompts_per_crop: int = 6
    round_shares: tuple[float, ...] = (0.4, 0.4, 0.2)
    dense_weight: float = 2.0
    seed: int = 0
    save_every: int = 100
    bf16: bool = False

    def rate(self, step: int) -> float:
        """Learning rate at ``step``: linear warm-up, then half a cosine down to ``final_rate``."""
        part = cosine_part(step, self.steps, self.warmup_steps, self.final_rate)
        return self.learning_rate * part


class Trainer:
    """One run in ``folder``: its model, optimiser and moving average, and where it stands.

    In a ``team`` every process has a `Trainer`, and all of them take the same steps. The model is
    trained on the device it is on.
    """

    def __init__(
        self, sam: Sam, settings: TrainSettings, folder: Path, team: Team | None = None
    ) -> None:
        # Convolutions run twice as fast on channels-last tensors.
        self.sam: Sam = sam.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = settings
        self.folder = folder
        self.team = team or Team()
        self.averaged = copy.deepcopy(self.sam).eval().requires_grad_(False)
        groups = parameter_groups(sam, settings.weight_decay)
        self.optimiser = torch.optim.AdamW(
            groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True
        )
        self.step = 0

    @property
    def state_file(self) -> Path:
        """Where the run's whole state is kept."""
        return self.folder / "state.pt"

    def resume(self) -> bool:
        """Continue from the saved state, if there is one."""
        if not self.state_file.is_file():
            return False
        state = torch.load(self.state_file, map_location=self.sam.device, weights_only=True)
        self.sam.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        return True

    def save(self) -> None:
        """Write the whole state, replacing the last one only when it is complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.sam.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        with whole_file(self.state_file) as partial:
            torch.save(state, partial)
        (self.folder / "settings.json").write_text(json.dumps(asdict(self.settings), indent=1))

    def train_step(self, crops: CropBatch) -> dict[str, float]:
        """One update from this process's crops; returns the mean of each thing measured here."""
        started = time.perf_counter()
        settings = self.settings
        turn = self.team.turns(self.step, self.step + 1)[0]
        device = self.sam.device
        generator = torch.Generator(device).manual_seed(settings.seed * 1_000_003 + turn)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate(self.step)
        tally = Tally()
        loss = self._loss(crops.unpacked(device), generator, tally)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.share_gradients(self.sam.parameters())
        nn.utils.clip_grad_norm_(self.sam.parameters(), settings.clip_norm)
        self.optimiser.step()
        self._average()
        self.step += 1
        measured = {"loss": float(loss.detach()), **tally.means()}
        return {**measured, "seconds": time.perf_counter() - started}

    def _loss(self, crops: CropBatch, generator: torch.Generator, tally: Tally) -> Tensor:
        encoder = self.sam.image_encoder
        pixels = (crops.image - self.sam.pixel_mean) / self.sam.pixel_std * crops.inside
        # The decoder's many small steps are no faster in 16 bits.
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.settings.bf16):
            features = encoder(pixels.contiguous(memory_format=torch.channels_last)).float()
        low_labels = crops.labels[:, ::2, ::2]
        loss: Tensor = features.new_zeros(())
        foreground = None
        if isinstance(encoder, ConvEncoder) and self.settings.dense_weight:
            maps = encoder.dense_head(features).float()
            dense = dense_loss(maps, crops.dense)
            tally.add("dense", dense)
            loss = loss + self.settings.dense_weight * dense
            foreground = maps[:, 0].detach()
        targets = draw_targets(
            low_labels, self.settings.prompts_per_crop, generator, foreground=foreground
        )
        # The same in all processes of a team, so that none waits long for the others.
        alike = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        share = torch.tensor(list(FIRST_PROMPTS.values()))
        shares = torch.tensor(self.settings.round_shares)
        kinds = torch.multinomial(
            share.to(pixels.device), max(1, len(targets.ids)), True, generator=generator
        )
        for index, kind in enumerate(FIRST_PROMPTS):
            rows = kinds[: len(targets.ids)] == index
            if kind != "point":  # a box or a mask drawn on nothing is no prompt
                rows &= targets.ids > 0
            if not bool(rows.any()):
                continue
            rounds = 1 + int(torch.multinomial(shares, 1, generator=alike))
            part = interactive_loss(
                self.sam, features, crops.labels, targets.rows(rows), kind, rounds, generator, tally
            )
            loss = loss + part * (float(rows.sum()) / len(rows)) * 2 / (1 + rounds)
        return loss

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards the trained ones; quick at first."""
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        trained = self.sam.state_dict()
        means = self.averaged.state_dict()
        moving = [name for name, mean in means.items() if mean.is_floating_point()]
        torch._foreach_lerp_([means[n] for n in moving], [trained[n] for n in moving], 1 - decay)
        for name in means.keys() - set(moving):
            means[name].copy_(trained[name])
