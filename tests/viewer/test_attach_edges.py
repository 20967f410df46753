"""`attach` where things cross: several sessions, 3-D, signs, removed prompts, unwritable labels."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager

from napari_segment_anything import attach

FLAT = np.zeros((60, 80), np.uint8)


def press(viewer, key):
    bound = {str(binding): action for binding, action in viewer.keymap.items()}
    bound[key](viewer)


def bound_keys(viewer):
    return {str(binding) for binding in viewer.keymap}


def click(session, *at):
    session.points.add(list(at))
    session.wait(5)


def test_keys_act_on_the_session_whose_layer_is_active(viewer, quick):
    first = quick(FLAT)
    second = attach(viewer, viewer.add_image(FLAT, name="other"), "fake")
    second.wait(5)
    click(first, 20, 20)
    click(second, 40, 40)
    viewer.layers.selection.active = first.points
    press(viewer, "G")
    assert first.labels.data[20, 20] == 1 and not second.labels.data.any()
    viewer.layers.selection.active = None
    press(viewer, "G")
    assert second.labels.data[40, 40] == 1


def test_keys_outlive_a_session_and_are_given_back_by_the_last(viewer, quick):
    called = []
    viewer.bind_key("G", lambda _: called.append("mine"))
    first = quick(FLAT)
    second = attach(viewer, viewer.add_image(FLAT, name="other"), "fake")
    second.wait(5)
    second.close()
    click(first, 20, 20)
    press(viewer, "G")
    assert first.labels.data[20, 20] == 1 and not called
    first.close()
    assert bound_keys(viewer) == {"G"}
    press(viewer, "G")
    assert called == ["mine"]


def test_commit_and_cancel_in_3d_clear_the_object(viewer, quick):
    session = quick(np.zeros((4, 60, 80), np.uint8))
    viewer.dims.set_current_step(0, 2)
    for commit in (True, False):
        click(session, 2, 20, 30)
        viewer.dims.ndisplay = 3
        assert session.commit() if commit else session.cancel() is None
        assert len(session.points.data) == 0 and not session.mask.data.any()
        viewer.dims.ndisplay = 2
        session.wait(5)
        assert not session.mask.data.any() and session.commit() is False
        assert session.labels.data[2, 20, 30] == 1 and session.labels.data.max() == 1


def test_the_sign_is_the_persons_until_the_object_is_done(viewer, quick):
    session = quick(FLAT)
    click(session, 20, 20)
    session.foreground = False
    click(session, 20, 24)
    session.foreground = True
    assert session.remove_last_prompt() and session.foreground
    session.foreground = False
    assert session.remove_last_prompt() and not session.foreground
    session.foreground = True
    click(session, 20, 20)
    session.foreground = False
    session.commit()
    assert session.foreground
    session.foreground = False
    session.cancel()
    click(session, 40, 40)
    assert session.points.features["foreground"].tolist() == [True]


def test_the_last_prompt_after_one_was_deleted_by_hand(viewer, quick):
    session = quick(FLAT)
    session.shapes.add_rectangles([[5, 5], [15, 15]])
    session.points.add([30, 30])
    session.shapes.add_rectangles([[40, 40], [50, 50]])
    session.shapes.selected_data = {1}
    session.shapes.remove_selected()
    assert session.remove_last_prompt()
    assert len(session.points.data) == 0 and len(session.shapes.data) == 1
    session.points.data = [[1, 1], [2, 2], [3, 3]]
    assert session.remove_last_prompt()
    assert session.points.data.tolist() == [[1, 1], [2, 2]]


def test_each_click_is_asked_once_and_keeps_its_candidate(viewer, quick):
    session = quick(FLAT)
    click(session, 20, 20)
    assert session.functions.predictions == 1
    session.next_candidate()
    shown = session.mask.data.copy()
    viewer.add_image(np.zeros((5, 9, 9)), name="unrelated")
    viewer.dims.set_current_step(0, 3)
    session.wait(5)
    assert np.array_equal(session.mask.data, shown) and session.functions.predictions == 1


def test_signs_changed_in_the_table_are_seen_and_coloured(viewer, quick):
    session = quick(FLAT)
    click(session, 20, 20)
    click(session, 20, 26)
    both = session.mask.data.copy()
    session.points.features = {"foreground": [True, False]}
    session.wait(5)
    assert both[20, 26] and not session.mask.data[20, 26]
    colours = session.points.face_color
    assert not np.allclose(colours[0], colours[1])
    session.points.features = {}
    session.wait(5)
    assert session.mask.data[20, 26]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (da.zeros(FLAT.shape, dtype=np.int32), "lazy"),
        (np.zeros((10, 10), np.int32), "shape"),
        (np.full(FLAT.shape, 255, np.uint8), "up to 255"),
    ],
)
def test_labels_that_cannot_be_written_keep_the_prompts(viewer, quick, data, what):
    session = quick(FLAT)
    session.labels.data = data
    click(session, 20, 20)
    notification_manager.records.clear()
    assert session.commit() is False
    assert what in notification_manager.records[-1].message
    assert len(session.points.data) == 1 and session.mask.data.any()
    with pytest.raises(ValueError, match=what):
        session.wait(5)
    session.labels.data = np.zeros(FLAT.shape, np.int32)
    assert session.commit() and session.labels.data[20, 20] == 1


def test_areas_follow_overwriting(viewer, quick):
    session = quick(FLAT)
    session.overwrite = True
    for at in ((20, 20), (20, 26), (50, 60)):
        click(session, *at)
        session.commit()
    session.shapes.add_rectangles([[40, 45], [60, 79]])
    session.wait(5)
    session.commit()
    table = session.labels.features.set_index("index")["area"].to_dict()
    assert table == {n: int((session.labels.data == n).sum()) for n in (1, 2, 4)}


def test_an_empty_refinement_leaves_the_label(viewer, quick):
    session = quick(FLAT)
    click(session, 20, 20)
    session.commit()
    session.refine(1)
    session.foreground = False
    for row in range(12, 30, 6):
        for col in range(12, 30, 6):
            session.points.add([row, col])
    session.wait(5)
    assert not session.mask.data.any()
    session.commit()
    assert session.labels.data[20, 20] == 1


def test_labels_of_another_type_are_adopted_as_int32(viewer, quick):
    mine = np.zeros(FLAT.shape, np.uint8)
    mine[5, 5] = 200
    layer = viewer.add_labels(mine, name="cells objects")
    session = quick(FLAT)
    assert session.labels is layer and layer.data.dtype == np.int32
    click(session, 20, 20)
    session.commit()
    assert session.labels.data[20, 20] == 201 and session.labels.data[5, 5] == 200


def test_an_image_of_two_viewers_has_one_session(viewer, quick):
    session = quick(FLAT)
    other = ViewerModel()
    other.layers.append(session.image)
    with pytest.raises(ValueError, match="another viewer"):
        attach(other, session.image)


def test_own_layers_have_the_images_units(viewer, quick):
    session = quick(FLAT, units=("um", "um"), scale=(0.5, 0.5))
    assert session.points.units == session.labels.units == session.image.units
    session.image.units = ("nm", "nm")
    assert session.mask.units == session.image.units


def test_a_closed_session_says_so(viewer, quick):
    session = quick(FLAT)
    session.close()
    with pytest.raises(RuntimeError, match="attach"):
        session.auto_mask()
    session.wait(1)


def test_layers_are_found_again_whatever_their_names(viewer, quick):
    session = quick(FLAT)
    click(session, 20, 20)
    session.commit()
    image, labels = session.image, session.labels
    session.close()
    image.name = "renamed"
    again = attach(viewer, image, "fake")
    assert again.labels is labels and len(viewer.layers) == 5
    for size in ((30, 40), (20, 50)):
        image.data = np.zeros(size, np.uint8)
        again = attach(viewer, image, "fake")
        click(again, 5, 5)
        again.commit()
        assert again.labels.data.shape == size and again.labels.data[5, 5] == 1
    objects = [layer for layer in viewer.layers if "objects" in layer.name]
    again.close()
    assert attach(viewer, image, "fake").labels is objects[-1] and len(objects) == 3
