from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_segment_anything.core.labels import automask_edit, object_edit
from napari_segment_anything.core.layer_prompts import Shape, Snapshot, prompt_of, scribble_points
from napari_segment_anything.geometry.planes import PlaneRef, displayed_plane

SIZE = (30, 40)


def shape(kind, *vertices):
    return Shape(kind, np.array(vertices, float))


def test_rectangles_between_pixels_are_exclusive_edges():
    drawn = shape("rectangle", (4.5, 2.5), (9.5, 2.5), (9.5, 7.5), (4.5, 7.5))
    prompt = prompt_of(Snapshot(shapes=(drawn,)), SIZE)
    assert prompt.box_xyxy.tolist() == [5, 3, 10, 8] and prompt.mask is None


def test_boxes_join_and_are_cut_to_the_plane():
    a = shape("rectangle", (-9, -9), (4.5, -9), (4.5, 4.5), (-9, 4.5))
    b = shape("rectangle", (9.5, 9.5), (90, 9.5), (90, 12.5), (9.5, 12.5))
    assert prompt_of(Snapshot(shapes=(a, b)), SIZE).box_xyxy.tolist() == [0, 0, 40, 13]
    outside = shape("rectangle", (50, 50), (60, 50), (60, 60), (50, 60))
    assert prompt_of(Snapshot(shapes=(outside,)), SIZE).is_empty


def test_ellipse_and_polygon_are_box_and_mask():
    ellipse = shape("ellipse", (10, 5), (20, 5), (20, 15), (10, 15))
    prompt = prompt_of(Snapshot(shapes=(ellipse,)), SIZE)
    assert prompt.box_xyxy.tolist() == [10.5, 5.5, 20.5, 15.5]
    assert prompt.mask[10, 15] and not prompt.mask[6, 11]
    assert prompt.mask.sum() == pytest.approx(np.pi * 25, rel=0.1)
    triangle = shape("polygon", (10, 5), (20, 5), (10, 15))
    prompt = prompt_of(Snapshot(shapes=(triangle,)), SIZE)
    assert prompt.mask[7, 12] and not prompt.mask[13, 18]


def test_scribbles_are_points_along_them():
    points = scribble_points(np.array([[0.0, 5], [36, 5]]))
    assert points.tolist() == [[6, 5], [18, 5], [30, 5]]
    assert len(scribble_points(np.array([[0.0, 0], [5000, 0]]))) == 12
    assert scribble_points(np.array([[3.0, 4], [3, 4]])).tolist() == [[3, 4]]
    path = shape("path", (0, 5), (36, 5))
    prompt = prompt_of(Snapshot(np.array([[8.0, 8]]), np.array([0]), (path,)), SIZE)
    assert prompt.point_labels.tolist() == [0, 1, 1, 1] and prompt.box_xyxy is None


def test_points_beyond_the_plane_are_left_out():
    points = np.array([[-0.4, 0], [-0.6, 0], [39.4, 29.4], [39.6, 3]])
    prompt = prompt_of(Snapshot(points, np.array([1, 1, 0, 1])), SIZE)
    assert prompt.points_xy.tolist() == [[-0.4, 0], [39.4, 29.4]]
    assert prompt.point_labels.tolist() == [1, 0]


def applied(labels, edit):
    out = labels.copy()
    out[edit.rows, edit.cols] = edit.values
    return out


def test_objects_respect_others_unless_told():
    labels = np.array([[1, 1, 0, 0]])
    mask = np.array([[False, True, True, False]])
    assert applied(labels, object_edit(labels, mask, 2, overwrite=False)).tolist() == [[1, 1, 2, 0]]
    assert applied(labels, object_edit(labels, mask, 2, overwrite=True)).tolist() == [[1, 2, 2, 0]]


def test_refining_replaces_the_object():
    labels = np.array([[1, 1, 0, 2]])
    mask = np.array([[False, True, True, True]])
    edit = object_edit(labels, mask, 1, overwrite=False, replaces=labels == 1)
    assert applied(labels, edit).tolist() == [[0, 1, 1, 2]]


def test_auto_masks_on_background_only_with_consecutive_labels():
    labels = np.array([[7, 7, 0, 0, 0, 0]])
    found = np.array([[1, 1, 0, 2, 3, 3]])
    edit, kept = automask_edit(labels, found, 8, overwrite=False)
    assert applied(labels, edit).tolist() == [[7, 7, 0, 8, 9, 9]] and kept.tolist() == [1, 2]
    edit, kept = automask_edit(labels, found, 8, overwrite=True)
    assert applied(labels, edit).tolist() == [[8, 8, 0, 9, 10, 10]] and kept.tolist() == [0, 1, 2]
    aside = np.array([[0, 0, 0, 0, 1, 1]])
    edit, _ = automask_edit(labels, aside, 8, overwrite=True)
    assert applied(labels, edit).tolist() == [[7, 7, 0, 0, 8, 8]]


@given(st.integers(2, 4), st.integers(0, 2), st.randoms(use_true_random=False), st.data())
def test_displayed_plane_indexes_what_is_shown(ndim, extra, random, data):
    shape = tuple(random.randint(2, 5) for _ in range(ndim))
    order = list(range(ndim + extra))
    random.shuffle(order)
    at = [data.draw(st.integers(0, n - 1)) for n in shape]
    array = np.arange(np.prod(shape)).reshape(shape)
    plane = displayed_plane(order, np.array(at, float), shape)
    own = [a - extra for a in order if a >= extra]
    shown = np.moveaxis(array, own[-2:], (0, 1))
    rest = [a for a in range(ndim) if a not in own[-2:]]
    assert np.array_equal(plane.pixels(array), shown[(..., *(at[a] for a in rest))])
    point = np.array(at, float)[None]
    x, y = plane.to_xy(point)[0].astype(int)
    assert plane.holds(point).all() and plane.pixels(array)[y, x] == array[tuple(at)]
    index = plane.from_rows_cols(np.array([y]), np.array([x]))
    assert tuple(int(i[0]) for i in index) == tuple(at)
    assert plane.size_hw(shape) == plane.pixels(array).shape


def test_no_plane_outside_of_the_layer():
    assert displayed_plane([0, 1, 2], np.array([5.0, 1, 1]), (5, 9, 9)) is None
    assert displayed_plane([0, 1, 2], np.array([4.4, 99, 99]), (5, 9, 9)) == PlaneRef(
        1, 2, (4, 0, 0)
    )
