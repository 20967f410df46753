"""Processes that train together stay one model, and each has its own part of the batches."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.pictures import random_model

from napari_segment_anything.modeling.conv_encoder import ResidualBlock
from napari_segment_anything.modeling.sizes import NANO, build_sam
from napari_segment_anything.training.nano import begin_from
from napari_segment_anything.training.team import Team, joined
from napari_segment_anything.zoo.checkpoint import read_checkpoint, write_checkpoint

ROOT = Path(__file__).parents[2]


def test_parts_of_a_team_are_all_of_the_batches():
    parts = [list(Team(rank, 3).turns(4, 10)) for rank in range(3)]
    assert sorted(turn for part in parts for turn in part) == list(range(12, 30))
    assert [part[0] for part in parts] == [12, 13, 14]
    assert list(Team().turns(4, 10)) == list(range(4, 10))


def test_one_alone_is_a_team(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, 4.0])
    with joined() as team:
        assert team.leads
        team.share_gradients([weight])
    assert weight.grad.tolist() == [3.0, 4.0]


def test_two_processes_learn_from_both_and_stay_alike(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "tests.training.team_member", str(tmp_path)]
    subprocess.run(command, check=True, timeout=240, cwd=ROOT)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["shared"] == second["shared"] == [1.5, 2.0]  # means of 1 and 2, of 4 and nothing
    # A fused optimiser takes weights and gradients as they lie in memory.
    assert first["kernel"] == second["kernel"] == [True, [36, 1, 12, 4]]
    assert first["crops"] != second["crops"]
    assert first["weights"] == second["weights"] != first["begun"]


def test_a_deeper_nano_begins_where_a_shallower_one_ended(tmp_path):
    shallow = replace(shallower(NANO, 1), settling_dim=0, rater_hidden_dim=0)
    old = random_model(shallow).sam
    write_checkpoint(tmp_path / "old.safetensors", old, shallow)
    new = build_sam(NANO).eval()
    begin_from(new, tmp_path / "old.safetensors")
    old.load_state_dict(read_checkpoint(tmp_path / "old.safetensors").state_dict)
    assert sum(isinstance(m, ResidualBlock) for m in new.modules()) == sum(NANO.encoder.depths)
    pixels = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    point = torch.tensor([[[100.0, 60.0]]]), torch.ones(1, 1, dtype=torch.int64)
    with torch.inference_mode():
        here, there = (answer(sam, pixels, point) for sam in (new, old))
    assert torch.equal(here[0], there[0]) and torch.equal(here[1], there[1])
    assert here[0].std() > 0


def answer(sam, pixels, point):
    """Masks and ratings, from pixels to the end."""
    sparse, dense = sam.prompt_encoder(points=point, boxes=None, masks=None)
    code = sam.prompt_encoder.get_dense_pe()
    return sam.mask_decoder.predict_masks(sam.image_encoder(pixels), code, sparse, dense)


@pytest.mark.parametrize(
    "change", [{"settling_dim": 32}, {"rater_hidden_dim": 24}], ids=["settling", "rater"]
)
def test_a_nano_whose_blocks_have_another_size_is_refused(tmp_path, change):
    other = replace(NANO, **change)
    write_checkpoint(tmp_path / "other.safetensors", random_model(other).sam, other)
    with pytest.raises(ValueError, match="none of another size"):
        begin_from(build_sam(NANO), tmp_path / "other.safetensors")


def test_a_nano_of_more_blocks_is_refused(tmp_path):
    deep = shallower(NANO, -1)
    write_checkpoint(tmp_path / "deep.safetensors", random_model(deep).sam, deep)
    with pytest.raises(ValueError, match="got others"):
        begin_from(build_sam(NANO), tmp_path / "deep.safetensors")


def shallower(config, blocks):
    """The same model with fewer blocks in its third stage."""
    depths = list(config.encoder.depths)
    depths[2] -= blocks
    return replace(config, encoder=replace(config.encoder, depths=tuple(depths)))
