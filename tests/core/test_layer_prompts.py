"""Shapes and points, as napari holds them, become prompts in pixels of the plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_segment_anything.core.layer_prompts import (
    Shape,
    Snapshot,
    box_of,
    ellipse,
    prompt_of,
    scribble_points,
)

SIZE = (30, 40)


def shape(kind: str, *vertices: tuple[float, float]) -> Shape:
    return Shape(kind, np.array(vertices, float))


def rectangle(x0, y0, x1, y1, kind="rectangle") -> Shape:
    return shape(kind, (x0, y0), (x1, y0), (x1, y1), (x0, y1))


@given(st.data())
def test_a_drawn_box_holds_the_pixels_whose_centres_it_holds(data):
    half = st.integers(-8, 96).map(lambda n: n / 2 + 0.25)
    x0, x1 = sorted(data.draw(st.tuples(half, half)))
    y0, y1 = sorted(data.draw(st.tuples(half, half)))
    box = box_of(rectangle(x0, y0, x1, y1).vertices_xy, SIZE)
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    drawn = (cols >= x0) & (cols <= x1) & (rows >= y0) & (rows <= y1)
    if box is None:
        return  # less than a pixel wide inside the plane
    left, top, right, bottom = box
    centres_x, centres_y = cols + 0.5, rows + 0.5  # where a box counts edges
    held = (centres_x >= left) & (centres_x <= right) & (centres_y >= top) & (centres_y <= bottom)
    assert np.array_equal(held, drawn)
    assert 0 <= left < right <= SIZE[1] and 0 <= top < bottom <= SIZE[0]


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((-0.5, -0.5, 39.5, 29.5), [0, 0, 40, 30]),  # the whole plane
        ((3.5, 4.5, 7.5, 9.5), [4, 5, 8, 10]),
        ((7.5, 9.5, 3.5, 4.5), [4, 5, 8, 10]),  # drawn from the lower right
        ((-99, -99, 99, 99), [0, 0, 40, 30]),
        ((3.5, 4.5, 4.5, 5.5), [4, 5, 5, 6]),  # one pixel
        ((3.5, 4.5, 4.0, 9.5), None),  # a click with a shape tool
        ((41, 2, 60, 9), None),
        ((-20, 2, -3, 9), None),
    ],
)
def test_edges_of_boxes(corners, expected):
    box = box_of(rectangle(*corners).vertices_xy, SIZE)
    assert box is None if expected is None else box.tolist() == expected


def test_a_turned_rectangle_is_the_box_around_it():
    turned = shape("rectangle", (20, 5), (25, 10), (20, 15), (15, 10))
    prompt = prompt_of(Snapshot(shapes=(turned,)), SIZE)
    assert prompt.box_xyxy.tolist() == [15.5, 5.5, 25.5, 15.5] and prompt.mask is None


def test_a_polygon_masks_the_pixels_inside_it():
    square = shape("polygon", (9.5, 4.5), (19.5, 4.5), (19.5, 14.5), (9.5, 14.5))
    prompt = prompt_of(Snapshot(shapes=(square,)), SIZE)
    expected = np.zeros(SIZE, bool)
    expected[5:15, 10:20] = True
    assert np.array_equal(prompt.mask, expected)
    assert prompt.box_xyxy.tolist() == [10, 5, 20, 15]


def test_a_polygon_that_leaves_the_plane_is_cut():
    square = shape("polygon", (-10, -10), (4.5, -10), (4.5, 4.5), (-10, 4.5))
    prompt = prompt_of(Snapshot(shapes=(square,)), SIZE)
    assert prompt.mask.shape == SIZE and prompt.mask.sum() == 25 and prompt.mask[:5, :5].all()


def test_several_outlines_join():
    shapes = (rectangle(1.5, 1.5, 5.5, 5.5, "polygon"), rectangle(9.5, 9.5, 14.5, 12.5, "polygon"))
    prompt = prompt_of(Snapshot(shapes=shapes), SIZE)
    assert prompt.box_xyxy.tolist() == [2, 2, 15, 13]
    assert prompt.mask.sum() == 16 + 15 and not prompt.mask[7, 7]


def test_an_ellipse_masks_its_area_upright_and_turned():
    upright = rectangle(8, 8, 28, 18, "ellipse")
    mask = prompt_of(Snapshot(shapes=(upright,)), SIZE).mask
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    exact = ((cols - 18) / 10) ** 2 + ((rows - 13) / 5) ** 2 < 1
    assert (mask != exact).sum() <= 8 and mask.sum() == pytest.approx(np.pi * 50, rel=0.06)
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array([18, 13])
    turned = (upright.vertices_xy - middle) @ turn + middle
    outline = ellipse(turned)
    back = (outline - middle) @ turn.T
    assert np.allclose((back[:, 0] / 10) ** 2 + (back[:, 1] / 5) ** 2, 1)


def test_a_mask_joins_outlines():
    given_mask = np.zeros(SIZE, bool)
    given_mask[20:25, 30:35] = True
    outline = rectangle(1.5, 1.5, 5.5, 5.5, "polygon")
    prompt = prompt_of(Snapshot(shapes=(outline,), mask=given_mask), SIZE)
    assert prompt.mask.sum() == 16 + 25
    alone = prompt_of(Snapshot(mask=given_mask), SIZE)
    assert np.array_equal(alone.mask, given_mask) and alone.box_xyxy is None
    assert prompt_of(Snapshot(mask=np.zeros(SIZE, bool)), SIZE).is_empty


@settings(deadline=None)  # the first call imports scipy.signal
@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), min_size=2, max_size=30))
def test_scribble_points_lie_on_the_scribble(vertices):
    path = np.array(vertices)
    points = scribble_points(path)
    assert 1 <= len(points) <= 12 and points.shape[1] == 2
    starts, stops = path[:-1], path[1:]
    along = stops - starts
    squared = np.maximum((along**2).sum(axis=1), 1e-12)
    for point in points:
        t = np.clip(((point - starts) * along).sum(axis=1) / squared, 0, 1)
        distance = np.hypot(*(starts + t[:, None] * along - point).T)
        assert distance.min() <= 0.51  # the path is simplified by half a pixel


@pytest.mark.parametrize(
    ("length", "count"), [(0, 1), (3, 1), (24, 2), (60, 5), (144, 12), (900, 12)]
)
def test_scribble_points_are_a_dozen_pixels_apart(length, count):
    points = scribble_points(np.array([[2.0, 7.0], [2.0 + length, 7.0]]))
    assert len(points) == count
    gaps = np.diff(points[:, 0])
    assert np.allclose(gaps, length / count) and (points[:, 1] == 7).all()
    assert points[0, 0] == pytest.approx(2 + length / count / 2)


def test_scribbles_are_foreground_beside_the_clicks():
    line = shape("line", (5, 20), (29, 20))
    clicks = np.array([[3.0, 4.0], [8.0, 9.0]])
    prompt = prompt_of(Snapshot(clicks, np.array([0, 1]), (line,)), SIZE)
    assert prompt.points_xy.tolist() == [[3, 4], [8, 9], [11, 20], [23, 20]]
    assert prompt.point_labels.tolist() == [0, 1, 1, 1]
    assert prompt.box_xyxy is None and prompt.mask is None


def test_parts_of_a_scribble_beyond_the_plane_are_left_out():
    line = shape("path", (-24, 10), (24, 10))
    prompt = prompt_of(Snapshot(shapes=(line,)), SIZE)
    assert prompt.points_xy.tolist() == [[6, 10], [18, 10]]


def test_nothing_is_an_empty_prompt():
    assert prompt_of(Snapshot(), SIZE).is_empty
    outside = Snapshot(np.array([[50.0, 3.0]]), np.array([1]))
    assert prompt_of(outside, SIZE).is_empty
