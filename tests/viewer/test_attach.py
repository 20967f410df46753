"""`attach` on a viewer model without Qt, with `nano` on disks whose masks are known."""

from __future__ import annotations

import gc
import weakref

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from tests.fakes import disk
from tests.pictures import disks, iou

from napari_segment_anything import attach

SPOTS = [(30, 40, 12), (80, 110, 14), (35, 110, 9)]
WAIT = 60


@pytest.fixture
def picture():
    return disks((112, 144), SPOTS)


@pytest.fixture
def session(viewer, picture, nano):
    attached = attach(viewer, viewer.add_image(picture[0], name="cells"), nano)
    attached.wait(WAIT)
    yield attached
    attached.close()


def test_clicks_become_objects(session, picture):
    _, truth = picture
    for label, (y, x, _) in enumerate(SPOTS, start=1):
        session.points.add([y, x])
        session.wait(WAIT)
        assert session.mask.data.shape == truth.shape
        assert iou(session.mask.data, truth == label) > 0.6
        assert 0 < session.predicted_iou <= 1.2
        session.commit()
        session.wait(WAIT)
        assert iou(session.labels.data == label, truth == label) > 0.6
    assert session.labels.data.dtype == np.int32 and session.encode_count == 1
    assert not len(session.points.data) and not session.mask.data.any()
    table = session.labels.features
    assert table["index"].tolist() == [1, 2, 3]
    assert table["area"].tolist() == np.bincount(session.labels.data.ravel())[1:].tolist()


def test_commit_before_the_first_answer(viewer, picture, nano):
    image, truth = picture
    session = attach(viewer, viewer.add_image(image), nano)
    for y, x, _ in SPOTS[:2]:
        session.points.add([y, x])
        session.commit()
    assert not session.labels.data.any()
    session.wait(WAIT)
    assert iou(session.labels.data == 1, truth == 1) > 0.6
    assert iou(session.labels.data == 2, truth == 2) > 0.6


def test_box_shapes_and_refinement(session, picture):
    _, truth = picture
    y, x, r = SPOTS[1]
    low, high = (y - r, x - r), (y + r, x + r)
    corners = [low, (low[0], high[1]), high, (high[0], low[1])]
    session.shapes.add(np.array(corners), shape_type="rectangle")
    session.wait(WAIT)
    assert iou(session.mask.data, truth == 2) > 0.7
    session.commit()
    session.wait(WAIT)
    session.refine(1)
    session.points.add([y, x])
    session.wait(WAIT)
    session.commit()
    session.wait(WAIT)
    assert np.unique(session.labels.data).tolist() == [0, 1]
    assert iou(session.labels.data == 1, truth == 2) > 0.7
    with pytest.raises(ValueError, match="got 5"):
        session.refine(5)


def test_auto_mask_fills_the_background_in_one_step(session, picture):
    _, truth = picture
    session.labels.data_setitem((np.array([0]), np.array([0])), 7)
    session.auto_mask(points_per_side=12)
    session.wait(WAIT)
    after = session.labels.data.copy()
    assert after[0, 0] == 7 and after.max() >= 10 and iou(after > 0, truth > 0) > 0.6
    table = session.labels.features.set_index("index")
    for label in np.unique(after[after > 7]):
        assert table.loc[label, "area"] == (after == label).sum()
        assert 0 < table.loc[label, "predicted_iou"] <= 1.5
        assert 0 < table.loc[label, "stability_score"] <= 1
    session.labels.undo()
    assert np.unique(session.labels.data).tolist() == [0, 7]
    session.labels.redo()
    assert np.array_equal(session.labels.data, after)
    assert session.encode_count == 1


def test_undo_and_redo_take_one_step_an_object(quick):
    session = quick(np.zeros((60, 80), np.uint8))
    states = [session.labels.data.copy()]
    for x in (20, 50):
        session.points.add([30, x])
        session.wait(5)
        session.commit()
        states.append(session.labels.data.copy())
    session.labels.undo()
    assert np.array_equal(session.labels.data, states[1])
    session.labels.undo()
    assert np.array_equal(session.labels.data, states[0])
    session.labels.redo()
    session.labels.redo()
    assert np.array_equal(session.labels.data, states[2])


def test_old_objects_keep_their_pixels(quick):
    session = quick(np.zeros((60, 80), np.uint8))
    a, b = disk((60, 80), 30, 30, 8), disk((60, 80), 38, 30, 8)
    for x in (30, 38):
        session.points.add([30, x])
        session.commit()
    session.wait(5)
    assert np.array_equal(session.labels.data, np.where(a, 1, np.where(b, 2, 0)))
    session.overwrite = True
    session.points.add([30, 34])
    session.commit()
    session.wait(5)
    assert np.array_equal(session.labels.data == 3, disk((60, 80), 34, 30, 8))


def test_background_points_moving_and_removing(quick):
    session = quick(np.zeros((60, 80), np.uint8))
    session.points.add([30, 30])
    session.foreground = False
    session.points.add([30, 38])
    session.wait(5)
    both = disk((60, 80), 30, 30, 8) & ~disk((60, 80), 38, 30, 8)
    assert np.array_equal(session.mask.data, both)
    assert session.points.features["foreground"].tolist() == [True, False]
    colours = session.points.face_color
    assert colours[0, 1] > colours[0, 0] and colours[1, 0] > colours[1, 1]
    assert session.remove_last_prompt()
    session.wait(5)
    assert np.array_equal(session.mask.data, disk((60, 80), 30, 30, 8))
    session.points.selected_data = {0}
    session.points._move([0], [35, 50])  # what dragging calls
    session.points.events.data(
        value=session.points.data, action="changed", data_indices=(0,), vertex_indices=((),)
    )
    session.wait(5)
    moved = session.points.data[0]
    assert np.array_equal(session.mask.data, disk((60, 80), moved[1], moved[0], 8))
    assert session.remove_last_prompt() and not session.remove_last_prompt()
    session.wait(5)
    assert not session.mask.data.any()


def test_points_set_at_once(quick):
    session = quick(np.zeros((60, 80), np.uint8))
    session.points.data = [[30, 30], [30, 50]]
    session.wait(5)
    assert session.mask.data[30, 30] and session.mask.data[30, 50]
    session.points.features = {"foreground": [True, False]}
    session.wait(5)
    assert session.mask.data[30, 30] and not session.mask.data[30, 50]
    session.points.data = np.zeros((0, 2))
    session.wait(5)
    assert not session.mask.data.any()


def test_a_label_of_another_layer_is_a_prompt(quick, viewer):
    session = quick(np.zeros((60, 80), np.uint8))
    other = np.zeros((60, 80), np.uint8)
    other[10:20, 30:40] = 3
    viewer.layers.selection.active = viewer.add_labels(other, name="other")
    session.refine(3)
    session.wait(5)
    assert np.array_equal(session.mask.data, other > 0)
    session.commit()
    assert np.array_equal(session.labels.data, (other > 0).astype(int)) and other.max() == 3


def test_candidates_and_cancel(quick):
    session = quick(np.zeros((60, 80), np.uint8))
    session.points.add([30, 30])
    session.wait(5)
    assert session.predicted_iou == pytest.approx(0.9)
    session.next_candidate()
    assert session.predicted_iou == pytest.approx(0.7)
    assert np.array_equal(session.mask.data, disk((60, 80), 30, 30, 6))
    session.cancel()
    assert not session.mask.data.any() and not len(session.points.data)
    assert not session.commit() and not session.labels.data.any()


def test_encoded_again_when_and_only_when_the_view_changes(quick):
    data = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
    session = quick(data)
    for x in (10, 20, 30):
        session.points.add([30, x])
        session.wait(5)
    session.image.opacity = 0.5
    session.image.colormap = "magma"
    session.image.name = "renamed"
    session.image.scale = (2, 2)
    session.wait(5)
    assert session.encode_count == 1
    session.image.contrast_limits = (5, 100)
    session.wait(5)
    assert session.encode_count == 2
    session.image.data = data + 1
    session.wait(5)
    assert session.encode_count == 3 and session.functions.encoded[-1][0, 0] == 1
    session.set_model("other")
    session.wait(5)
    assert session.encode_count == 4


def test_contrast_of_uint8_colour_changes_nothing(quick):
    session = quick(np.zeros((40, 50, 3), np.uint8))
    session.image.contrast_limits = (5, 100)
    session.wait(5)
    assert session.encode_count == 1 and session.labels.data.shape == (40, 50)


def test_planes_of_a_stack(quick, viewer):
    data = np.arange(4)[:, None, None] * np.ones((4, 60, 80))
    session = quick(data)
    viewer.dims.set_point(0, 2)
    session.points.add([2, 30, 40])
    session.wait(5)
    assert session.mask.data.shape == (1, 60, 80) and session.functions.encoded[-1][0, 0] == 2
    assert session.mask.data_to_world((0, 5, 6)) == pytest.approx((2, 5, 6))
    session.commit()
    session.wait(5)
    assert np.array_equal(session.labels.data[2], disk((60, 80), 40, 30, 8))
    assert not session.labels.data[[0, 1, 3]].any()
    viewer.dims.set_point(0, 3)
    session.points.add([3, 10, 10])
    viewer.dims.set_point(0, 2)
    session.wait(5)
    assert not session.mask.data.any()  # that prompt belongs to plane 3
    viewer.dims.set_point(0, 3)
    session.wait(5)
    assert session.mask.data[0, 10, 10]


def test_another_order_of_axes(quick, viewer):
    data = np.random.default_rng(0).random((20, 60, 80))
    session = quick(data)
    viewer.dims.order = (1, 2, 0)  # shows x down, z across
    viewer.dims.set_point(1, 33)
    session.points.add([10, 33, 40])
    session.wait(5)
    assert session.mask.data.shape == (20, 1, 80)
    assert np.array_equal(session.functions.encoded[-1], data[:, 33].T)
    assert np.array_equal(session.mask.data[:, 0], disk((20, 80), 40, 10, 8))
    session.commit()
    session.wait(5)
    assert np.array_equal(session.labels.data[:, 33], disk((20, 80), 40, 10, 8))


def test_transforms_are_followed(quick):
    session = quick(
        np.zeros((60, 80), np.uint8),
        scale=(2, 3),
        translate=(10, -5),
        rotate=30,
        affine=[[1, 0.2, 3], [0, 1, 4], [0, 0, 1]],
    )
    world = session.image.data_to_world((30, 40))
    session.points.add(session.points.world_to_data(world))
    session.wait(5)
    assert np.array_equal(session.mask.data, disk((60, 80), 40, 30, 8))
    for layer in (session.mask, session.labels, session.points, session.shapes):
        assert layer.data_to_world((7, 9)) == pytest.approx(session.image.data_to_world((7, 9)))
    session.image.rotate = 75
    session.image.translate = (1, 1)
    for layer in (session.mask, session.labels):
        assert layer.data_to_world((7, 9)) == pytest.approx(session.image.data_to_world((7, 9)))


def test_mask_plane_follows_a_rotated_stack(quick, viewer):
    session = quick(np.zeros((5, 30, 40)), scale=(4, 2, 2), translate=(1, 2, 3))
    viewer.dims.set_point(0, 1 + 3 * 4)
    session.points.add([3, 10, 12])
    session.wait(5)
    assert session.mask.data[0, 10, 12]
    assert session.mask.data_to_world((0, 10, 12)) == pytest.approx(
        session.image.data_to_world((3, 10, 12))
    )


def test_multiscale_and_dask(quick):
    full = np.random.default_rng(0).random((2, 64, 80))
    session = quick([full, full[:, ::2, ::2]], multiscale=True)
    assert session.labels.data.shape == (2, 64, 80)
    session.points.add([0, 30, 40])
    session.wait(5)
    assert np.array_equal(session.mask.data[0], disk((64, 80), 40, 30, 8))
    session.close()


def test_dask(quick):
    full = np.random.default_rng(0).random((64, 80))
    session = quick(da.from_array(full, chunks=16))
    session.points.add([30, 40])
    session.wait(5)
    assert np.array_equal(session.functions.encoded[0], full) and session.mask.data[30, 40]


def test_one_session_a_layer(quick, viewer):
    session = quick(np.zeros((30, 30)))
    count = len(viewer.layers)
    assert attach(viewer, session.image) is session and attach(viewer, "cells") is session
    assert session.controller.model == "fake" and len(viewer.layers) == count == 5
    session.close()
    again = attach(viewer, session.image, "fake")
    assert again is not session and len(viewer.layers) == count
    assert again.labels is session.labels and again.points is session.points


def test_what_cannot_be_attached(viewer):
    labels = viewer.add_labels(np.zeros((5, 5), int))
    with pytest.raises(ValueError, match="image layer"):
        attach(viewer, labels)
    with pytest.raises(ValueError, match="not in it"):
        attach(viewer, ViewerModel().add_image(np.zeros((5, 5))))
    with pytest.raises(ValueError, match="nothing"):
        attach(viewer, "nothing")


def test_errors_and_time(quick):
    session = quick(np.zeros((30, 30)))
    session.functions.fail_next = RuntimeError("no memory")
    session.points.add([5, 5])
    with pytest.raises(RuntimeError, match="no memory"):
        session.wait(5)
    session.wait(5)
    session.functions.gate.clear()
    session.image.data = np.ones((30, 30))
    with pytest.raises(TimeoutError, match="Encoding"):
        session.wait(0.05)
    session.functions.gate.set()
    session.wait(5)
    assert session.functions.encoded[-1].all()


def test_a_broken_model_is_given_up(quick):
    session = quick(np.zeros((30, 30)))
    session.points.add([5, 5])
    session.commit()
    session.wait(5)
    session.set_model("broken.pth")
    with pytest.raises(ValueError, match="broken"):
        session.wait(5)
    assert session.controller.model == "fake" and session.labels.data[5, 5] == 1
    session.points.add([20, 20])
    session.wait(5)
    assert session.mask.data[20, 20]


@pytest.mark.parametrize("layer", ["points", "shapes", "mask", "labels", "image"])
def test_removing_a_layer_ends_the_session_quietly(quick, viewer, layer):
    session = quick(np.zeros((30, 30)))
    session.points.add([5, 5])
    removed = getattr(session, layer)
    viewer.layers.remove(removed)
    if layer != "image":
        session.image.contrast_limits = (0, 5)
        assert attach(viewer, session.image, "fake") is not session


def test_three_dimensional_view_asks_for_a_plane(quick, viewer):
    session = quick(np.zeros((5, 30, 30)))
    viewer.dims.ndisplay = 3
    assert session.controller.plane is None
    session.auto_mask()
    session.points.add([1, 5, 5])
    session.wait(5)
    viewer.dims.ndisplay = 2
    viewer.dims.set_point(0, 1)
    session.wait(5)
    assert session.mask.data[0, 5, 5]


def test_a_session_goes_with_its_viewer():
    def work():
        viewer = ViewerModel()
        image = viewer.add_image(np.zeros((20, 20)), name="cells")
        session = attach(viewer, image)
        return weakref.ref(session.controller), weakref.ref(image)

    controller, image = work()
    gc.collect()
    assert image() is None and controller() is None


def test_another_shape_begins_another_session(quick, viewer):
    session = quick(np.zeros((30, 30)))
    session.points.add([5, 5])
    session.commit()
    session.wait(5)
    session.image.data = np.zeros((50, 60))
    again = attach(viewer, session.image, "fake")
    assert again is not session and again.labels.data.shape == (50, 60)
    assert session.labels.data[5, 5] == 1 and session.labels in viewer.layers
    again.points.add([40, 40])
    again.commit()
    again.wait(5)
    assert again.labels.data[40, 40] == 1


def test_labels_that_do_not_fit_their_layer_are_told(quick):
    session = quick(np.zeros((30, 30)))
    session.labels.data = np.zeros((30, 30), np.uint8)
    session.labels.data[0, 0] = 255
    session.points.add([15, 15])
    session.wait(5)
    assert not session.commit() and len(session.points.data) == 1
    with pytest.raises(ValueError, match="int32"):
        session.wait(5)
    assert np.unique(session.labels.data).tolist() == [0, 255]
