"""The displayed plane, for any order of any number of axes, against plain numpy indexing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_segment_anything.geometry.planes import PlaneRef, displayed_plane


@st.composite
def views(draw):
    """(order of the viewer's axes, position in the layer, shape of the layer)."""
    ndim = draw(st.integers(2, 5))
    extra = draw(st.integers(0, 2))  # axes that the viewer has and the layer has not
    shape = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    order = tuple(draw(st.permutations(range(ndim + extra))))
    at = np.array([draw(st.integers(0, n - 1)) for n in shape])
    return order, at, shape


def shown_axes(order, ndim):
    """Layer axes down and across: the last two of the viewer's that the layer has."""
    own = [a - (len(order) - ndim) for a in order if a >= len(order) - ndim]
    return own[-2], own[-1]


@given(views())
def test_pixels_agree_with_indexing_one_by_one(case):
    order, at, shape = case
    data = np.arange(np.prod(shape)).reshape(shape)
    plane = displayed_plane(order, at, shape)
    row, col = shown_axes(order, len(shape))
    pixels = plane.pixels(data)
    assert plane.size_hw(shape) == pixels.shape == (shape[row], shape[col])
    assert plane.is_transposed == (row > col) and plane.ndim == len(shape)
    for r, c in np.ndindex(pixels.shape):
        where = at.copy()
        where[row], where[col] = r, c
        assert pixels[r, c] == data[tuple(where)]


@given(views())
def test_writing_by_index_is_reading_by_plane(case):
    order, at, shape = case
    plane = displayed_plane(order, at, shape)
    data = np.zeros(shape, int)
    rows, cols = (a.ravel() for a in np.indices(plane.size_hw(shape)))
    values = np.arange(1, rows.size + 1)
    data[plane.from_rows_cols(rows, cols)] = values
    assert np.array_equal(plane.pixels(data).ravel(), values)
    assert np.count_nonzero(data) == values.size  # nothing beside the plane


@given(views(), st.data())
def test_points_of_the_plane_and_their_pixels(case, data):
    order, at, shape = case
    plane = displayed_plane(order, at, shape)
    array = np.arange(np.prod(shape)).reshape(shape)
    points = np.array([[data.draw(st.integers(0, n - 1)) for n in shape] for _ in range(5)], float)
    row, col = shown_axes(order, len(shape))
    held = plane.holds(points)
    for point, here, (x, y) in zip(points.astype(int), held, plane.to_xy(points), strict=True):
        fixed = [a for a in range(len(shape)) if a not in (row, col)]
        assert here == all(point[a] == at[a] for a in fixed)
        assert (x, y) == (point[col], point[row])
        if here:
            assert plane.pixels(array)[int(y), int(x)] == array[tuple(point)]


@given(views(), st.floats(-0.45, 0.45))
def test_a_position_within_half_a_step_is_the_same_plane(case, shift):
    order, at, shape = case
    plane = displayed_plane(order, at, shape)
    assert displayed_plane(order, at + shift, shape) == plane
    assert plane.holds((at + shift)[None]).all()


@given(views(), st.data())
def test_beyond_the_layer_there_is_no_plane(case, data):
    order, at, shape = case
    row, col = shown_axes(order, len(shape))
    axis = data.draw(st.integers(0, len(shape) - 1))
    beyond = at.copy()
    beyond[axis] = data.draw(st.sampled_from([-1, shape[axis], 99]))
    plane = displayed_plane(order, beyond, shape)
    if axis in (row, col):
        assert plane == displayed_plane(order, at, shape)
    else:
        assert plane is None


def test_a_transposed_plane_of_a_volume():
    data = np.arange(24).reshape(2, 3, 4)
    plane = displayed_plane((1, 2, 0), np.array([0, 2, 0]), (2, 3, 4))
    assert plane == PlaneRef(2, 0, (0, 2, 0)) and plane.is_transposed
    assert plane.index == (slice(None), 2, slice(None))
    assert np.array_equal(plane.pixels(data), data[:, 2, :].T)
    assert plane.to_xy(np.array([[1.0, 2.0, 3.0]])).tolist() == [[1, 3]]


def test_the_channels_of_a_colour_plane_stay_last():
    data = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    assert np.array_equal(PlaneRef(1, 2, (1, 0, 0)).pixels(data), data[1])
    transposed = PlaneRef(2, 1, (1, 0, 0)).pixels(data)
    assert transposed.shape == (4, 3, 3) and np.array_equal(transposed[3, 2], data[1, 2, 3])


def test_pixels_of_arrays_in_memory_are_a_view():
    data = np.zeros((2, 3, 4))
    PlaneRef(2, 1, (1, 0, 0)).pixels(data)[3, 2] = 7
    assert data[1, 2, 3] == 7 and np.count_nonzero(data) == 1


def test_no_points_are_no_points():
    plane = PlaneRef(1, 2, (1, 0, 0))
    assert plane.holds(np.zeros((0, 3))).shape == (0,)
    assert plane.to_xy(np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("ndim", [2, 3, 4])
def test_two_axes_are_always_enough(ndim):
    order = tuple(range(ndim))
    plane = displayed_plane(order, np.zeros(2), (5, 6))
    assert plane == PlaneRef(0, 1, (0, 0))
