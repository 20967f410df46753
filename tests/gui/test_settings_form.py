"""The form of whole-image settings: what is shown, offered and handed on in each mode."""

from __future__ import annotations

import pytest
from qtpy.QtTest import QTest

from napari_segment_anything import AutoMaskSettings
from napari_segment_anything.widget.settings_form import SettingsForm

GRID = {
    "mode",
    "points_per_side",
    "pred_iou_thresh",
    "stability_score_thresh",
    "box_nms_thresh",
    "crop_n_layers",
    "min_mask_region_area",
}
PROMPTS = GRID - {"points_per_side"}
DECODER = {
    "mode",
    "foreground_threshold",
    "center_distance_threshold",
    "boundary_distance_threshold",
    "min_mask_region_area",
}


@pytest.fixture
def form(qtbot):
    made = SettingsForm()
    qtbot.addWidget(made)
    return made


def shown(form):
    return {name for name, box in form.boxes.items() if not box.isHidden()}


def offered(form):
    items = form.mode_box.model()
    return [items.item(i).text() for i in range(items.rowCount()) if items.item(i).isEnabled()]


def test_a_mode_shows_what_counts_in_it(form):
    for mode, wanted in (("grid", GRID), ("prompts", PROMPTS), ("decoder", DECODER)):
        form.mode_box.setValue(mode)
        assert shown(form) == set(form.values) == wanted
        assert form.values["mode"] == mode
        for box in form.boxes.values():
            assert form.layout().labelForField(box).isHidden() == box.isHidden()
        AutoMaskSettings.checked(form.values)


def test_by_itself_is_what_the_model_does_by_itself(form):
    assert shown(form) == GRID  # as nano, before a model is there
    form.offer_modes(("auto", "decoder", "prompts", "grid"), ("decoder",))
    assert shown(form) == DECODER and form.values["mode"] == "auto"
    form.offer_modes(("auto", "grid"), ("grid",))
    assert shown(form) == GRID


def test_only_what_a_model_can_do_is_offered(form):
    assert offered(form) == ["auto", "decoder", "prompts", "grid"]
    form.offer_modes(("auto", "prompts", "grid"), ("prompts", "grid"))
    assert offered(form) == ["auto", "prompts", "grid"]


def test_a_model_brings_its_settings(form):
    form.mode_box.setValue("grid")
    form.show_defaults({"mode": "decoder", "foreground_threshold": 0.3})
    assert form.values["mode"] == "decoder" and form.values["foreground_threshold"] == 0.3
    form.show_defaults({})
    assert form.values["mode"] == "auto"


def test_the_dock_offers_the_models_modes_and_tells_of_one_it_cannot_do(opened, functions):
    _viewer, dock, session, _ = opened
    form = dock.whole_panel.form
    assert offered(form) == ["auto", "grid"] and shown(form) == GRID
    said = []
    session.controller.session.canvas.report = said.append

    def cannot(model, image, *, progress, **settings):
        raise ValueError(f"Expected a mode out of auto, grid, got {settings['mode']}.")

    functions.auto_mask = cannot
    form.mode_box.setValue("decoder")
    dock.whole_panel.start.click()
    with pytest.raises(ValueError, match="got decoder"):
        session.wait(20)
    QTest.qWait(20)
    assert [str(error) for error in said] == ["Expected a mode out of auto, grid, got decoder."]
    assert not session.labels.data.any() and dock.whole_panel.status.text() == "Ready"
