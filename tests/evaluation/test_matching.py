"""Overlaps and one-to-one matches, by hand and against the dense way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from napari_segment_anything.evaluation.matching import matches, overlaps_of

labels = hnp.arrays(np.int32, (5, 6), elements=st.sampled_from([0, 0, 1, 2, 5, 9, 2**31 - 1]))


def dense_iou(found, true):
    """(T, F), every pair compared pixel by pixel."""
    ids = [np.unique(labels[labels > 0]) for labels in (true, found)]
    iou = np.zeros([len(i) for i in ids])
    for t, f in np.ndindex(iou.shape):
        a, b = true == ids[0][t], found == ids[1][f]
        iou[t, f] = (a & b).sum() / (a | b).sum()
    return iou


def test_overlaps_by_hand():
    true = np.array([[7, 7, 7, 0, 300]])
    found = np.array([[0, 2, 2, 2, 9]])
    overlaps = overlaps_of(found, true)
    assert overlaps.true_index.tolist() == [0, 1] and overlaps.found_index.tolist() == [0, 1]
    assert overlaps.shared_px.tolist() == [2, 1]
    assert overlaps.true_px.tolist() == [3, 1] and overlaps.found_px.tolist() == [3, 1]
    assert overlaps.iou.tolist() == [0.5, 1.0]
    assert overlaps.dice.tolist() == pytest.approx([2 / 3, 1.0])
    assert len(matches(overlaps, 0.5)) == 2 and matches(overlaps, 0.51).tolist() == [1]


def test_an_object_split_in_half_is_matched_once():
    true = np.array([[1, 1, 1, 1]])
    found = np.array([[1, 1, 2, 2]])
    assert len(matches(overlaps_of(found, true), 0.5)) == 1


def test_below_one_half_more_pairs_win_over_better_ones():
    """The first meets both found ones (1/3 and 2/5), the second one only: both are matched."""
    true = np.array([[1] * 6 + [2] * 4])
    found = np.array([[5] * 2 + [8] * 8])
    overlaps = overlaps_of(found, true)
    pairs = {
        (int(t), int(f)): round(float(iou), 4)
        for t, f, iou in zip(overlaps.true_index, overlaps.found_index, overlaps.iou, strict=True)
    }
    assert pairs == {(0, 0): 0.3333, (0, 1): 0.4, (1, 1): 0.5}
    chosen = matches(overlaps, 0.3)
    assert overlaps.iou[chosen].tolist() == pytest.approx([1 / 3, 0.5])
    assert overlaps.iou[matches(overlaps, 0.35)].tolist() == [0.5]


def test_sizes_and_thresholds_are_checked():
    with pytest.raises(ValueError, match="same size"):
        overlaps_of(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match="threshold above 0"):
        matches(overlaps_of(np.ones((2, 3), int), np.ones((2, 3), int)), 0)


@given(labels, labels)
def test_overlaps_are_the_dense_matrix(found, true):
    overlaps = overlaps_of(found, true)
    dense = np.zeros((len(overlaps.true_px), len(overlaps.found_px)))
    dense[overlaps.true_index, overlaps.found_index] = overlaps.iou
    expected = dense_iou(found, true)
    np.testing.assert_allclose(dense, expected)


@given(labels, labels, st.floats(0.05, 1))
def test_matches_are_the_optimal_assignment(found, true, threshold):
    overlaps = overlaps_of(found, true)
    chosen = matches(overlaps, threshold)
    for index in (overlaps.true_index, overlaps.found_index):
        assert len(np.unique(index[chosen])) == len(chosen)
    assert (overlaps.iou[chosen] >= threshold).all()
    dense = dense_iou(found, true)
    if not dense.size:
        assert not len(chosen)
        return
    good = dense >= threshold
    best = linear_sum_assignment(
        np.where(good, 1 + dense / (2 * min(dense.shape)), 0), maximize=True
    )
    assert good[best].sum() == len(chosen)
    assert dense[best][good[best]].sum() == pytest.approx(overlaps.iou[chosen].sum())
