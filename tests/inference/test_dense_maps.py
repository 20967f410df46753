from __future__ import annotations

import numpy as np
import torch
from tests.pictures import random_model

from napari_segment_anything import encode
from napari_segment_anything.geometry.frames import ImageFrame
from napari_segment_anything.inference.dense_maps import DenseMaps, dense_maps
from napari_segment_anything.modeling.sizes import NANO

FRAME = ImageFrame.fit_zoom((60, 80), 2.0, 32)  # 128 x 160 model pixels, 64 x 80 cells of two


def maps(centre, foreground=None):
    full = torch.ones(64, 80) if foreground is None else foreground
    return DenseMaps(full, centre, 2.0, FRAME)


def bumps(*cells_yx):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    return sum(torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 18) for cy, cx in cells_yx)


def test_seeds_are_the_middles_in_image_pixels():
    seeds = maps(bumps((20, 30), (40, 60))).seeds_xy()
    assert {tuple(s) for s in seeds.tolist()} >= {(30.5, 20.5), (60.5, 40.5)}


def test_seeds_lie_on_foreground_and_in_the_image():
    foreground = torch.zeros(64, 80)
    foreground[10:30] = 1
    seeds = maps(bumps((20, 30), (40, 60), (62, 70)), foreground).seeds_xy()
    assert [30.5, 20.5] in seeds.tolist() and (seeds[:, 1] < 31).all()
    outside = torch.zeros(64, 80)
    outside[61:] = 1  # rows beyond 60 are padding
    assert len(maps(bumps((62, 70)), outside).seeds_xy()) == 0


def test_a_level_map_has_one_seed():
    seeds = maps(torch.ones(64, 80)).seeds_xy()
    assert len(seeds) == 1 and np.abs(seeds[0] - (39.9, 31.9)).max() < 1.5


def test_foreground_of_a_point_or_its_neighbour():
    foreground = torch.zeros(64, 80)
    foreground[20, 30] = 0.7
    found = maps(foreground, foreground).foreground_at(
        np.array([[30.2, 20.2], [31.2, 20.2], [33.0, 20.0], [500.0, 500.0]])
    )
    assert np.allclose(found, [0.7, 0.7, 0, 0])


def test_only_encoders_with_a_dense_head_have_maps():
    vit = random_model()
    assert dense_maps(vit, encode(vit, np.eye(40))) is None
    nano = random_model(NANO)
    found = dense_maps(nano, encode(nano, np.eye(40)))
    assert found is not None and found.cell_px == 2 and found.centre.shape == (128, 128)
