"""Better is what chance does not explain."""

from __future__ import annotations

import pytest

from napari_segment_anything.improving.verdict import verdict


def test_a_gain_on_all_objects_is_better():
    found = verdict([0.5, 0.6, 0.7], [0.7, 0.7, 0.8])
    assert found.is_better and found.before == pytest.approx(0.6)
    assert str(found) == "0.60 → 0.73 on 3 held-out objects"


@pytest.mark.parametrize(
    "after",
    [
        [0.5, 0.6, 0.7, 0.8],  # the same
        [0.4, 0.5, 0.6, 0.8],  # worse
        [0.9, 0.5, 0.6, 0.7],  # one object's luck
    ],
)
def test_what_is_no_better(after):
    assert not verdict([0.5, 0.6, 0.7, 0.8], after).is_better


def test_a_small_gain_counts_if_all_objects_share_it():
    assert verdict([0.5, 0.6], [0.51, 0.61]).is_better


def test_other_objects_are_no_comparison():
    with pytest.raises(ValueError, match="the same objects, got 2 and 1"):
        verdict([0.5, 0.6], [0.9])
