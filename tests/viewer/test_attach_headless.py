"""`attach` without Qt: planes, frames, undo, and what happens when layers or models go."""

from __future__ import annotations

from itertools import permutations

import dask.array as da
import numpy as np
import pytest
from tests.fakes import disk
from tests.pictures import disks, iou

from napari_segment_anything import attach

SPOTS = [(30, 40, 12), (80, 110, 14)]
WAIT = 60
FRAME = {
    "scale": (3, 1.5, 2),
    "translate": (5, -7, 11),
    "rotate": (20, 30, 40),
    "affine": np.array([[1, 0.1, 0, 2], [0, 1.1, 0.2, 3], [0, 0, 0.9, 4], [0, 0, 0, 1]]),
}


def click(session, *at):
    session.points.add(list(at))
    session.wait(WAIT)


def test_nano_on_colour(viewer, nano):
    grey, truth = disks((112, 144), SPOTS)
    colour = np.stack([grey, grey // 2, grey // 4], axis=-1)
    session = attach(viewer, viewer.add_image(colour, rgb=True, name="cells"), nano)
    for label, (y, x, _) in enumerate(SPOTS, start=1):
        click(session, y, x)
        assert session.mask.data.shape == (112, 144)
        assert iou(session.mask.data, truth == label) > 0.5
        assert session.commit()
    session.image.contrast_limits = (10, 90)
    session.wait(WAIT)
    assert session.encode_count == 1
    assert session.labels.data.shape == (112, 144) and session.labels.data.dtype == np.int32
    assert iou(session.labels.data == 2, truth == 2) > 0.5


def test_nano_finds_an_object_through_scale_and_turn(viewer, nano):
    grey, truth = disks((112, 144), SPOTS)
    frame = {"scale": (0.3, 0.5), "translate": (100, -20), "rotate": 25}
    session = attach(viewer, viewer.add_image(grey, name="cells", **frame), nano)
    world = session.image.data_to_world(SPOTS[1][:2])
    click(session, *session.points.world_to_data(world))
    assert iou(session.mask.data, truth == 2) > 0.5
    assert session.mask.data_to_world((3, 4)) == pytest.approx(session.image.data_to_world((3, 4)))


def test_nano_on_every_plane_of_a_lazy_stack(viewer, nano):
    spots = [[(30, 40, 12)], [(60, 90, 14)], [(30, 90, 10)]]
    planes = [disks((96, 128), s, seed=i) for i, s in enumerate(spots)]
    read = []

    def note(block, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return block

    stack = da.from_array(np.stack([p[0] for p in planes]), chunks=(1, 96, 128))
    lazy = stack.map_blocks(note, dtype=np.uint8, meta=np.array((), np.uint8))
    image = viewer.add_image(lazy, name="cells", contrast_limits=(0, 255))
    session = attach(viewer, image, nano)
    for z, (y, x, _) in enumerate(row[0] for row in spots):
        viewer.dims.set_point(0, z)
        click(session, z, y, x)
        assert session.mask.data.shape == (1, 96, 128)
        assert iou(session.mask.data[0], planes[z][1]) > 0.5
        session.commit()
    assert np.unique(session.labels.data).tolist() == [0, 1, 2, 3]
    assert all(iou(session.labels.data[z] == z + 1, planes[z][1]) > 0.5 for z in range(3))
    assert session.encode_count == 3
    read.clear()
    viewer.dims.set_point(0, 0)
    read.clear()
    session.points.add([0, 5, 5])
    session.wait(WAIT)
    assert read == [] and session.encode_count == 3


def test_another_model_keeps_what_is_committed(viewer, nano):
    grey, truth = disks((112, 144), SPOTS)
    session = attach(viewer, viewer.add_image(grey, name="cells"), nano)
    click(session, *SPOTS[0][:2])
    session.commit()
    before = session.labels.data.copy()
    session.set_model("nano")
    click(session, *SPOTS[1][:2])
    assert iou(session.mask.data, truth == 2) > 0.5
    assert np.array_equal(session.labels.data, before) and session.controller.model == "nano"


def test_nano_segments_one_plane_on_background_only(viewer, nano):
    grey, truth = disks((112, 144), SPOTS)
    session = attach(viewer, viewer.add_image(np.stack([grey, grey]), name="cells"), nano)
    session.labels.data_setitem(tuple(np.array([[1], [30], [40]])), 5)
    viewer.dims.set_point(0, 1)
    session.wait(WAIT)
    session.auto_mask(points_per_side=8)
    session.wait(WAIT)
    after = session.labels.data.copy()
    assert not after[0].any() and after[1, 30, 40] == 5 and (after[1] == 5).sum() == 1
    assert iou(after[1] > 0, truth > 0) > 0.5
    new = np.unique(after[after > 5]).tolist()
    assert new == list(range(6, 6 + len(new))) and len(new) >= 2
    table = session.labels.features
    assert table["index"].tolist() == new
    assert table["area"].tolist() == [(after == label).sum() for label in new]
    assert {"predicted_iou", "stability_score"} <= set(table.columns)
    session.labels.undo()
    assert np.unique(session.labels.data).tolist() == [0, 5]
    session.labels.redo()
    assert np.array_equal(session.labels.data, after)


@pytest.mark.parametrize("order", permutations(range(3)))
def test_the_mask_lies_on_the_image_in_any_frame_and_order(quick, viewer, order):
    shape = (22, 24, 26)
    session = quick(np.random.default_rng(0).random(shape), **FRAME)
    viewer.dims.order = order
    session.wait(WAIT)
    plane = session.controller.plane
    if plane is None:  # the turned volume is not where the viewer stands
        viewer.dims.point = session.image.data_to_world((11, 12, 13))
        session.wait(WAIT)
        plane = session.controller.plane
    at = list(plane.at)
    at[plane.row], at[plane.col] = 9, 10
    click(session, *at)
    mask = session.mask.data
    assert mask.shape == tuple(n if a in order[1:] else 1 for a, n in enumerate(shape))
    in_plane = [i if a in order[1:] else 0 for a, i in enumerate(at)]
    assert mask[tuple(in_plane)] == 1
    expected = disk(plane.size_hw(shape), 10, 9, 8)
    flat = mask.squeeze(order[0])
    assert np.array_equal(flat.T if plane.is_transposed else flat, expected)
    assert session.mask.data_to_world(in_plane) == pytest.approx(session.image.data_to_world(at))
    session.commit()
    assert session.labels.data[tuple(at)] == 1
    assert (session.labels.data == 1).sum() == expected.sum()
    session.labels.undo()
    assert not session.labels.data.any()


def test_moving_the_image_moves_the_mask_of_its_plane(quick, viewer):
    session = quick(np.zeros((5, 30, 40)), scale=(2, 1, 1))
    viewer.dims.set_point(0, 6)
    click(session, 3, 10, 12)
    session.image.scale = (4, 2, 2)
    viewer.dims.set_point(0, 12)
    session.image.translate = (0, 8, 9)
    session.wait(WAIT)
    assert session.mask.data[0, 10, 12] == 1
    assert session.mask.data_to_world((0, 10, 12)) == pytest.approx((12, 28, 33))


def test_a_plane_picture_among_volumes(quick, viewer):
    viewer.add_image(np.zeros((7, 60, 80)), name="volume")
    viewer.dims.set_point(0, 3)
    session = quick(np.zeros((60, 80)))
    click(session, 30, 40)
    assert session.mask.data.shape == (60, 80)
    for z in range(7):
        viewer.dims.set_point(0, z)
    session.wait(WAIT)
    assert session.encode_count == 1
    assert np.array_equal(session.mask.data, disk((60, 80), 40, 30, 8))


def test_prompts_of_other_planes_are_kept_for_them(quick, viewer):
    data = np.arange(3)[:, None, None] * np.ones((3, 40, 50))
    session = quick(data)
    for z, x in enumerate((10, 20, 30)):
        viewer.dims.set_point(0, z)
        session.points.add([z, 20, x])
    viewer.dims.set_point(0, 1)
    session.wait(WAIT)
    assert np.array_equal(session.mask.data[0], disk((40, 50), 20, 20, 8))
    session.commit()
    assert session.points.data[:, 0].tolist() == [0, 2]
    viewer.dims.set_point(0, 2)
    session.wait(WAIT)
    assert np.array_equal(session.mask.data[0], disk((40, 50), 30, 20, 8))
    assert np.unique(session.labels.data[1]).tolist() == [0, 1]


def test_commits_wait_for_their_own_plane(quick, viewer):
    data = np.arange(2)[:, None, None] * np.ones((2, 40, 50))
    session = quick(data)
    for z in (0, 1):
        viewer.dims.set_point(0, z)
        session.points.add([z, 20, 25])
        assert session.commit()
    viewer.dims.set_point(0, 0)
    session.wait(WAIT)
    expected = disk((40, 50), 25, 20, 8)
    assert np.array_equal(session.labels.data, np.stack([expected * 1, expected * 2]))


def test_refining_is_one_undo_step_and_keeps_the_id(quick):
    session = quick(np.zeros((60, 80)))
    for x in (20, 60):
        click(session, 30, x)
        session.commit()
    before = session.labels.data.copy()
    session.refine(1)
    click(session, 30, 28)
    session.commit()
    session.wait(WAIT)
    grown = disk((60, 80), 20, 30, 8) | disk((60, 80), 28, 30, 8)
    assert np.array_equal(session.labels.data == 1, grown)
    assert np.array_equal(session.labels.data == 2, before == 2)
    assert session.labels.features.set_index("index").loc[1, "area"] == grown.sum()
    session.labels.undo()
    assert np.array_equal(session.labels.data, before)


def test_a_hidden_objects_layer_is_written_to(quick):
    session = quick(np.zeros((60, 80)))
    session.labels.visible = False
    click(session, 30, 40)
    session.commit()
    assert np.array_equal(session.labels.data, disk((60, 80), 40, 30, 8) * 1)
    session.labels.undo()
    assert not session.labels.data.any()


def test_undone_ids_are_given_again(quick):
    session = quick(np.zeros((60, 80)))
    click(session, 30, 20)
    session.commit()
    session.labels.undo()
    click(session, 30, 60)
    session.commit()
    assert np.array_equal(session.labels.data, disk((60, 80), 60, 30, 8) * 1)
    assert session.labels.features["index"].tolist() == [1]


def test_whole_image_with_overwrite_takes_old_pixels(quick):
    session = quick(np.zeros((30, 30)))
    session.labels.data_setitem((np.array([4, 20]), np.array([4, 20])), 7)
    session.overwrite = True
    session.auto_mask()
    session.wait(WAIT)
    labels = session.labels.data
    assert (labels[2:8, 2:8] == 8).all() and (labels[2:8, 12:18] == 9).all()
    assert labels[20, 20] == 7
    table = session.labels.features.set_index("index")
    assert table.loc[[8, 9], "predicted_iou"].tolist() == [0.8, 0.7]
    assert table.loc[[8, 9], "area"].tolist() == [36, 36]


def test_the_first_of_two_errors_is_raised_once(quick):
    session = quick(np.zeros((30, 30)))
    for text, x in (("first", 5), ("second", 15)):
        session.functions.fail_next = RuntimeError(text)
        session.points.add([5, x])
        while session.controller.session.is_busy:
            session.controller.dispatcher.process()
    with pytest.raises(RuntimeError, match="first"):
        session.wait(WAIT)
    session.wait(WAIT)
    click(session, 20, 20)
    assert session.mask.data[20, 20] == 1


def test_a_timeout_loses_nothing(quick):
    session = quick(np.zeros((30, 30)))
    session.functions.gate.clear()
    session.image.data = np.ones((30, 30))
    session.points.add([10, 12])
    session.commit()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            session.wait(0.03)
    session.functions.gate.set()
    session.wait(WAIT)
    assert np.array_equal(session.labels.data, disk((30, 30), 12, 10, 8) * 1)


@pytest.mark.parametrize("layer", ["points", "shapes", "mask", "labels", "image"])
def test_removing_a_layer_while_work_waits(quick, viewer, layer):
    session = quick(np.zeros((30, 30)))
    click(session, 10, 10)
    session.commit()
    before = session.labels.data.copy()
    session.points.add([20, 20])
    session.commit()
    viewer.layers.remove(getattr(session, layer))
    session.wait(WAIT)
    viewer.dims.ndisplay = 3
    viewer.dims.ndisplay = 2
    session.image.contrast_limits = (0, 3)
    assert np.array_equal(session.labels.data, before)
    if layer != "image":
        again = attach(viewer, session.image, "fake")
        assert again is not session and len(viewer.layers) == 5
        click(again, 20, 20)
        assert again.mask.data[20, 20] == 1
        assert (again.labels.data == 1).any() == (layer != "labels")


def test_a_session_closed_twice_and_its_keys(quick, viewer):
    session = quick(np.zeros((30, 30)))
    assert {str(key) for key in viewer.keymap} >= set("GNQUKJ")
    session.close()
    session.close()
    assert not {str(key) for key in viewer.keymap if viewer.keymap[key]} & set("GNQUKJ")
    session.points.add([10, 10])
    session.wait(WAIT)
    assert not session.mask.data.any()
