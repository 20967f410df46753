"""Scores of whole segmentations: known values, invariances, and other libraries' numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.pictures import disks

from napari_segment_anything.evaluation.instances import (
    THRESHOLDS,
    InstanceScores,
    score_instances,
)

EMPTY = np.zeros((5, 6), np.int32)
labels = hnp.arrays(np.int32, (5, 6), elements=st.sampled_from([0, 0, 1, 2, 5, 9, 10**9]))
images = st.lists(st.tuples(labels, labels), min_size=1, max_size=3)


def score(found, true) -> InstanceScores:
    return score_instances([np.asarray(found)], [np.asarray(true)])


def values(scores):
    return [*scores.average_precision.values(), scores.mean_ap, scores.sbd, scores.aji]


def test_thresholds():
    assert THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


@pytest.mark.parametrize("factor", [1, 1_000_003])
def test_a_perfect_segmentation_is_1_everywhere(factor):
    """Also under other ids, with gaps and large ones."""
    true = disks((60, 80), [(15, 15, 8), (15, 50, 12), (45, 40, 9)])[1]
    scores = score(true * 7, true[::-1, ::-1][::-1, ::-1] * factor)
    assert values(scores) == [1.0] * 12
    assert (scores.true, scores.found, scores.matched) == (3, 3, 3)


def test_nothing_found_is_0_and_nothing_to_find_is_1():
    true = EMPTY.copy()
    true[1, 1:4] = 3
    assert values(score(EMPTY, true)) == [0.0] * 12
    assert values(score(true, EMPTY)) == [0.0] * 12
    assert values(score(EMPTY, EMPTY)) == [1.0] * 12


def test_values_by_hand():
    """Object A: 4 px, found as 3 of them. B: 4 px, missed. C: 2 px, found with 2 more: IoU 1/2.

    One found object of 1 px lies nowhere.
    """
    true = [[1, 1, 1, 1, 0, 2, 2, 2, 2, 0, 3, 3, 0, 0, 0, 0]]
    found = [[0, 4, 4, 4, 0, 0, 0, 0, 0, 0, 6, 6, 6, 6, 0, 9]]
    scores = score(found, true)
    assert (scores.true, scores.found, scores.matched) == (3, 3, 2)
    expected = [2 / 4, *[1 / 5] * 5, 0, 0, 0]  # C counts at 0.5, A up to 0.75
    assert list(scores.average_precision.values()) == pytest.approx(expected)
    assert scores.mean_ap == pytest.approx((2 / 4 + 5 / 5) / 9)
    # Dice of A: 6/7, B: 0, C: 4/6; of the found ones 6/7, 4/6, 0.
    assert scores.sbd == pytest.approx((6 / 7 + 4 / 6) / 3)
    # Shared 3 + 2; unions 4 + 4, B's 4 and the stray 1.
    assert scores.aji == pytest.approx(5 / 13)


def test_split_and_merged_objects():
    whole, halves = [[1, 1, 1, 1]], [[1, 1, 2, 2]]
    split, merged = score(halves, whole), score(whole, halves)
    assert split.average_precision[0.5] == merged.average_precision[0.5] == 1 / 2
    assert split.average_precision[0.55] == 0
    assert split.sbd == merged.sbd == pytest.approx(2 / 3)
    assert split.aji == pytest.approx(2 / 6)  # union 4, and the unused half
    assert merged.aji == pytest.approx(4 / 8)  # the same found object serves twice


def test_images_are_pooled_by_objects():
    """One object found out of one, none out of three: a quarter, not the mean of 1 and 0."""
    one, three = np.array([[1, 0, 0, 0, 0]]), np.array([[1, 0, 2, 0, 3]])
    scores = score_instances([one, np.zeros((1, 5), int)], [one, three])
    assert scores.average_precision[0.5] == scores.mean_ap == 1 / 4
    assert scores.sbd == 1 / 4 and scores.aji == 1 / 4
    with pytest.raises(ValueError, match="as many"):
        score_instances([one], [])


@given(images, st.randoms(use_true_random=False))
def test_ids_do_not_matter(pairs, random):
    renamed = [0, 1, 2, 5, 9, 10**9]
    numbers = random.sample(range(1, 10**6), len(renamed))
    of = dict(zip(renamed, numbers, strict=True)) | {0: 0}
    found, true = zip(*pairs, strict=True)
    other = [np.vectorize(of.get)(f).astype(np.int64) for f in found]
    scores, again = score_instances(found, true), score_instances(other, true)
    # Of found objects with the same IoU the first is taken for the aggregated Jaccard index.
    assert values(again)[:-1] == pytest.approx(values(scores)[:-1])


@given(images)
def test_bounds_and_symmetry(pairs):
    found, true = zip(*pairs, strict=True)
    scores, swapped = score_instances(found, true), score_instances(true, found)
    assert all(0 <= value <= 1 for value in values(scores))
    curve = list(scores.average_precision.values())
    assert curve == sorted(curve, reverse=True)
    assert curve == list(swapped.average_precision.values()) and scores.sbd == swapped.sbd


def plain_jaccard(found, true):
    """Kumar et al. 2017 word by word, for one image."""
    shared = union = 0
    unused = set(np.unique(found[found > 0]).tolist())
    for t in np.unique(true[true > 0]):
        mask, best = true == t, (0.0, 0, 0, None)
        for f in np.unique(found[found > 0]).tolist():
            both, either = (mask & (found == f)).sum(), (mask | (found == f)).sum()
            best = max(best, (both / either, both, either, f), key=lambda b: b[0])
        shared += best[1]
        union += best[2] if best[1] else mask.sum()
        unused.discard(best[3])
    return shared / max(1, union + sum((found == f).sum() for f in unused))


def random_pairs():
    """Drawn label images and what shifts, splits and merges make of them."""
    rng = np.random.default_rng(5)
    for _ in range(8):
        spots = [(*rng.integers(5, 90, 2), rng.integers(3, 12)) for _ in range(20)]
        true = disks((96, 96), spots)[1]
        found = np.roll(true, rng.integers(-3, 4, 2), (0, 1))
        found[48:][found[48:] == 7] = 40
        found[found == 11] = 0
        found[found == 3] = 5
        yield found, true


def test_aggregated_jaccard_word_by_word():
    for found, true in random_pairs():
        assert score(found, true).aji == pytest.approx(plain_jaccard(found, true))


def test_stardist_counts_the_same_objects():
    stardist = pytest.importorskip("stardist.matching", exc_type=ImportError)
    found, true = zip(*random_pairs(), strict=True)
    ours = score_instances(found, true)
    for threshold, value in ours.average_precision.items():
        theirs = stardist.matching_dataset(true, found, thresh=threshold, show_progress=False)
        assert value == pytest.approx(theirs.accuracy)


def test_cellpose_counts_the_same_objects():
    cellpose = pytest.importorskip("cellpose.metrics", exc_type=ImportError)
    for found, true in random_pairs():
        theirs = cellpose.average_precision(true, found, threshold=list(THRESHOLDS))[0]
        assert list(score(found, true).average_precision.values()) == pytest.approx(theirs.tolist())


def test_elf_has_the_same_symmetric_best_dice():
    dice = pytest.importorskip("elf.evaluation.dice", exc_type=ImportError)
    for found, true in random_pairs():
        theirs = dice.symmetric_best_dice_score(found, true, impl="numpy")
        assert score(found, true).sbd == pytest.approx(theirs, abs=1e-6)


def test_cellseg_metrics_has_the_same_aggregated_jaccard():
    """It pairs by the largest intersection, not IoU: the same where objects are as large."""
    cellseg = pytest.importorskip("cellseg_metrics")
    rng = np.random.default_rng(0)
    for _ in range(5):
        spots = [(y, x, 7) for y in range(10, 100, 17) for x in range(10, 100, 17)]
        true = disks((110, 110), spots)[1]
        found = np.roll(true, rng.integers(-6, 7, 2), (0, 1))
        found[np.isin(found, rng.integers(1, len(spots), 5))] = 0
        theirs = cellseg.aggregated_jaccard_index(true, found)
        assert 0.1 < theirs < 0.9 and score(found, true).aji == pytest.approx(theirs, abs=1e-6)
