"""Planes of layers as labelled images: n-D, colour, 16 bit, scaled, in any order of axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_segment_anything import attach
from napari_segment_anything.viewer import annotated
from napari_segment_anything.viewer.annotated import (
    LayerPair,
    annotated_planes,
    job_for,
    pairs_in,
)


def pair(viewer, pixels, labels, **options):
    image = viewer.add_image(pixels, name="im", **options)
    return LayerPair(image, viewer.add_labels(labels, name="lab", scale=options.get("scale")))


def test_a_plane_comes_as_it_is(viewer):
    pixels = np.arange(12 * 15, dtype=np.uint16).reshape(12, 15) * 300
    labels = np.zeros((12, 15), np.uint8)
    labels[3:5, 4:6] = 200
    (found,) = annotated_planes(pair(viewer, pixels, labels, scale=(2, 3)), viewer.dims)
    assert found.pixels.dtype == np.uint16 and np.array_equal(found.pixels, pixels)
    assert found.labels.dtype == np.int32 and np.array_equal(found.labels, labels)
    assert found.name == "im"


def test_of_a_stack_every_plane_with_labels(viewer):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 12, 15, 3), np.uint8)
    labels = np.zeros((4, 12, 15), np.int64)
    labels[1, 2, 3], labels[3, 5, 6] = 7, 2**40
    both = pair(viewer, pixels, labels, rgb=True)
    found = annotated_planes(both, viewer.dims)
    assert [one.name for one in found] == ["im 1", "im 3"]
    assert np.array_equal(found[1].pixels, pixels[3])
    assert found[0].labels[2, 3] == 7 and found[1].labels[5, 6] == 1  # int32 holds it now


def test_planes_lie_as_they_are_displayed(viewer):
    pixels = np.random.default_rng(0).random((4, 12, 15)).astype(np.float32)
    labels = np.zeros((4, 12, 15), np.int32)
    labels[1, 2, 3] = 7
    both = pair(viewer, pixels, labels)
    viewer.dims.order = (1, 2, 0)
    (found,) = annotated_planes(both, viewer.dims)
    assert found.pixels.shape == (15, 4) and np.array_equal(found.pixels, pixels[:, 2].T)
    assert found.labels[3, 1] == 7 and found.labels.sum() == 7


def test_labels_with_fewer_axes_belong_to_what_is_displayed(viewer):
    pixels = np.arange(4 * 12 * 15).reshape(4, 12, 15)
    both = pair(viewer, pixels, np.eye(12, 15, dtype=np.int32))
    viewer.dims.set_current_step(0, 2)
    (found,) = annotated_planes(both, viewer.dims)
    assert np.array_equal(found.pixels, pixels[2]) and found.name == "im 2"
    far = viewer.add_image(np.zeros((9, 12, 15)), name="far")
    viewer.dims.set_current_step(0, 7)
    assert annotated_planes(LayerPair(far, both.labels), viewer.dims)[0].name == "far 7"
    with pytest.raises(ValueError, match="'im' to be displayed"):
        annotated_planes(both, viewer.dims)


def test_large_stacks_are_thinned_out(viewer, monkeypatch):
    both = pair(viewer, np.zeros((9, 12, 15)), np.ones((9, 12, 15), np.int32))
    monkeypatch.setattr(annotated, "MOST_PX", 3 * 12 * 15)
    assert [one.name for one in annotated_planes(both, viewer.dims)] == ["im 0", "im 4", "im 8"]


def test_pairs_fit_and_leave_live_masks_out(viewer):
    image = viewer.add_image(np.zeros((12, 15), np.uint8), name="a")
    session = attach(viewer, image, "fake")
    stack = viewer.add_image(np.zeros((3, 12, 15), np.uint8), name="b")
    viewer.add_labels(np.zeros((3, 12, 15), int), name="c")
    viewer.add_labels([np.zeros((12, 15), int), np.zeros((6, 7), int)], name="d", multiscale=True)
    assert [str(one) for one in pairs_in(viewer)] == ["a objects on a", "a objects on b", "c on b"]
    assert pairs_in(viewer)[0] == LayerPair(image, session.labels)
    assert pairs_in(viewer)[1].image is stack
    session.close()


def test_a_job_of_layers_and_folders(viewer):
    both = pair(viewer, np.zeros((12, 15)), np.eye(12, 15, dtype=np.int32))
    job = job_for("nano", [both, Path("/data")], viewer.dims, {"steps": 3})
    assert job.model == "nano" and job.folders == (Path("/data"),) and job.settings == {"steps": 3}
    assert [len(planes) for planes in job.sources] == [1]
    with pytest.raises(ValueError, match="none are ticked"):
        job_for("nano", [], viewer.dims, {})
