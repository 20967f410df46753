from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_segment_anything.inference.windows import Window, WindowGrid, cut_window

fields = st.builds(
    WindowGrid, st.tuples(st.integers(32, 300), st.integers(32, 300)), st.just(8), st.just(32)
)


@given(fields, st.floats(0, 1), st.floats(0, 1), st.integers(0, 3))
def test_window_lies_in_the_field_and_holds_its_middle(grid, u, v, level):
    h, w = (n * grid.cell_px for n in grid.field_hw)
    x, y = u * (w - 1), v * (h - 1)
    window = grid.around(np.array([x, y, x, y]), level)
    covered = grid.side << level
    for origin, cells in zip(window.origin_yx, grid.field_hw, strict=True):
        assert origin >= 0 and (origin + covered <= cells or origin == 0)
    at = grid.to_window_px(np.array([x, y]), window)
    assert (at >= 0).all() and (at < grid.side * grid.cell_px).all()


@given(fields, st.floats(1, 3000))
def test_level_holds_the_extent_or_is_the_last(grid, extent):
    level = grid.level_for(extent)
    assert level == grid.top_level or extent <= 0.75 * 256 * 2**level
    assert level == 0 or extent > 0.75 * 256 * 2 ** (level - 1)
    assert (grid.side << grid.top_level) >= max(grid.field_hw)


def test_cut_pools_and_pads_with_zeros():
    features = torch.arange(40.0 * 50).reshape(1, 1, 40, 50) + 1
    same = cut_window(features, Window((3, 5)), 32)
    assert torch.equal(same, features[..., 3:35, 5:37])
    pooled = cut_window(features, Window((0, 0), 1), 32)
    assert pooled[0, 0, 0, 0] == features[0, 0, :2, :2].mean()
    assert pooled.shape[-2:] == (32, 32) and not pooled[..., 20:, :].any()
