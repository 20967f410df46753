"""Edits of a plane of labels, against numpy one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_segment_anything.core.labels import LabelEdit, automask_edit, object_edit

SIZE = (4, 5)
PLANES = arrays(np.int32, SIZE, elements=st.integers(0, 4))
MASKS = arrays(bool, SIZE)


def applied(labels: np.ndarray, edit: LabelEdit) -> np.ndarray:
    out = labels.copy()
    out[edit.rows, edit.cols] = edit.values
    return out


def changes_only(labels: np.ndarray, edit: LabelEdit) -> bool:
    """Every listed pixel changes, and none is listed twice."""
    pairs = set(zip(edit.rows.tolist(), edit.cols.tolist(), strict=True))
    return len(pairs) == len(edit.rows) and bool(
        (labels[edit.rows, edit.cols] != edit.values).all()
    )


@given(PLANES, MASKS, st.booleans())
def test_a_new_object(labels, mask, overwrite):
    edit = object_edit(labels, mask, 9, overwrite=overwrite)
    after = applied(labels, edit)
    for at in np.ndindex(SIZE):
        takes = mask[at] and (overwrite or labels[at] == 0)
        assert after[at] == (9 if takes else labels[at])
    assert changes_only(labels, edit) and edit.is_empty == (len(edit.rows) == 0)


@given(PLANES, MASKS, MASKS, st.booleans(), st.integers(1, 4))
def test_a_refined_object(labels, mask, taken, overwrite, label):
    edit = object_edit(labels, mask, label, overwrite=overwrite, replaces=taken)
    after = applied(labels, edit)
    for at in np.ndindex(SIZE):
        old = int(labels[at])
        if mask[at] and (overwrite or old in (0, label)):
            expected = label
        else:  # what was painted by hand since the label was taken stays
            expected = 0 if old == label and taken[at] else old
        assert after[at] == expected
    assert changes_only(labels, edit)


@given(PLANES, arrays(np.int32, SIZE, elements=st.integers(0, 5)), st.booleans())
def test_whole_image(labels, found, overwrite):
    edit, kept = automask_edit(labels, found, 10, overwrite=overwrite)
    after = applied(labels, edit)
    visible = np.where((labels == 0) | overwrite, found, 0)
    new = [i for i in range(1, 6) if (visible == i).sum() > (found == i).sum() / 2]
    visible[~np.isin(visible, new)] = 0
    assert kept.tolist() == [i - 1 for i in new]
    for place, index in enumerate(kept):
        assert np.array_equal(after == 10 + place, visible == index + 1)
    assert np.array_equal(after[visible == 0], labels[visible == 0])
    assert changes_only(labels, edit)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint64])
def test_labels_of_any_integer_type(dtype):
    labels = np.array([[3, 0, 0]], dtype)
    mask = np.array([[True, True, False]])
    edit = object_edit(labels, mask, 300, overwrite=False)
    assert edit.values.tolist() == [300] and edit.cols.tolist() == [1]
    found = np.array([[1, 0, 2]], np.int32)
    edit, kept = automask_edit(labels, found, 300, overwrite=False)
    assert edit.values.tolist() == [300] and edit.cols.tolist() == [2] and kept.tolist() == [1]


def test_nothing_found_is_an_empty_edit():
    labels = np.array([[3, 0, 0]])
    edit, kept = automask_edit(labels, np.zeros((1, 3), np.int32), 4, overwrite=True)
    assert edit.is_empty and kept.size == 0
    assert object_edit(labels, np.zeros((1, 3), bool), 4, overwrite=True).is_empty
    assert object_edit(labels, labels == 3, 3, overwrite=False, replaces=labels == 3).is_empty


def test_labels_beyond_the_layers_type_do_not_wrap():
    labels = np.array([[3, 0, 0]], np.uint8)
    edit = object_edit(labels, np.array([[True, True, False]]), 300, overwrite=False)
    assert edit.values.tolist() == [300]
