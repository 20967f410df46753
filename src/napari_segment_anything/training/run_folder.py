"""What a run keeps on disk: settings, state, numbers, weights, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..io.writing import whole_file


@dataclass(frozen=True)
class RunFolder:
    """The folder ``path`` of one run.

    ``run.json`` says what is trained, how and on what; ``state.pt`` where it stands;
    ``metrics.jsonl`` holds one line of numbers a step; ``best.safetensors`` and
    ``last.safetensors`` are checkpoints, ``model.pth`` is the best one for other tools, and
    ``micro_sam.pt`` that with its automatic decoder.
    """

    path: Path

    @property
    def best(self) -> Path:
        """The checkpoint with the highest validation score."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.path / "last.safetensors"

    @property
    def exported(self) -> Path:
        """The best checkpoint as other tools read it."""
        return self.path / "model.pth"

    @property
    def for_micro_sam(self) -> Path:
        """The best checkpoint and its automatic decoder, as micro-sam reads both."""
        return self.path / "micro_sam.pt"

    @property
    def curves(self) -> Path:
        """The plot of all numbers."""
        return self.path / "curves.png"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _state(self) -> Path:
        return self.path / "state.pt"

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Make the folder this run's; it may have been before.

        Raises:
            ValueError: it is another run's, or holds something else; says what differs.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / "run.json"
        if not file.is_file():
            if self._state.exists() or self._metrics.exists():
                raise ValueError(
                    f"Expected an empty folder or a run in {self.path}, found files of a run "
                    "without run.json; choose another folder."
                )
            _write_text(file, json.dumps(identity, indent=1))
            return
        try:
            found = _flat(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, AttributeError) as error:
            raise ValueError(f"Expected a run's {file}, got something else ({error}).") from error
        wanted = _flat(json.loads(json.dumps(identity)))
        differing = [name for name in wanted if wanted[name] != found.get(name)]
        if differing:
            told = "; ".join(f"{n} was {found.get(n)!r}, is {wanted[n]!r}" for n in differing[:4])
            raise ValueError(
                f"Expected the run in {self.path} to go on as it began, but {told}. Give it the "
                "same data and settings, or train in another folder; this one's best.safetensors "
                "can be the model to start from."
            )

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Keep the whole state, in place of the last one when it is complete."""
        with whole_file(self._state) as partial:
            torch.save(dict(state), partial)

    def read_state(self) -> dict[str, Any] | None:
        """The state that was kept last, on the CPU; None if there is none."""
        if not self._state.is_file():
            return None
        state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        return state

    def add_numbers(self, numbers: Mapping[str, float]) -> None:
        """One more line of numbers."""
        with self._metrics.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(numbers) + "\n")

    def numbers_to(self, step: int) -> list[dict[str, float]]:
        """The lines up to ``step``; what a killed run wrote after its last state is dropped."""
        if not self._metrics.is_file():
            return []
        lines = self._metrics.read_text(encoding="utf-8").splitlines()
        kept: list[dict[str, float]] = []
        for line in lines:
            try:
                numbers = json.loads(line)
            except ValueError:  # the line at which the run was killed
                break
            if numbers["step"] > step:
                break
            kept.append(numbers)
        _write_text(self._metrics, "".join(json.dumps(n) + "\n" for n in kept))
        return kept

    def write_sample(self, step: int, picture: NDArray[np.uint8]) -> None:
        """Keep a picture (H, W, 3) of what was found at ``step``."""
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        with whole_file(folder / f"step-{step:06d}.png") as partial:
            Image.fromarray(picture).save(partial, "PNG")


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, those of an inner mapping by their own names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat
