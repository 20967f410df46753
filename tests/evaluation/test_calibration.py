from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_segment_anything.evaluation.calibration import Bin, calibration


def test_a_known_case():
    result = calibration([0.92, 0.98, 0.15, 1.07], [0.8, 0.9, 0.35, 0.97])
    assert result.mean_error == pytest.approx((0.12 + 0.08 + 0.2 + 0.1) / 4)
    low, high = result.bins
    assert low == Bin(0.1, 0.2, 1, 0.15, 0.35)
    assert (high.low, high.high, high.count) == (0.9, 1.0, 3)
    assert high.predicted == pytest.approx((0.92 + 0.98 + 1.07) / 3)
    assert high.true == pytest.approx((0.8 + 0.9 + 0.97) / 3)


@given(st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0, 1)), min_size=1), st.integers(1, 20))
def test_bins_hold_everything(pairs, bins):
    predicted, true = np.array(pairs).T
    result = calibration(predicted, true, bins)
    counts = [step.count for step in result.bins]
    assert sum(counts) == len(pairs)
    assert np.average([s.predicted for s in result.bins], weights=counts) == pytest.approx(
        predicted.mean(), abs=1e-9
    )
    assert calibration(true, true, bins).mean_error == 0


def test_lengths_are_checked():
    for wrong in (([], []), ([0.5], [0.5, 0.6])):
        with pytest.raises(ValueError, match="as many"):
            calibration(*wrong)
