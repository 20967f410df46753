"""Images with their labels, from the layouts that people have."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask

from napari_segment_anything.geometry.rle import mask_to_rle, rle_to_coco
from napari_segment_anything.io.coco import segmentation_mask
from napari_segment_anything.io.images import checked_labels, read_labels
from napari_segment_anything.io.labelled import LabelledFile, labelled_files, read_labelled

LABELS = np.array([[0, 0, 7, 7], [0, 300, 300, 0], [0, 300, 0, 0]], np.uint16)
PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("b", "a", "c")):
        save(tmp_path / "images" / f"{name}.png", PIXELS + i)
        save(tmp_path / "labels" / f"{name}.png", LABELS)
    (tmp_path / "split.csv").write_text("image,split\nc.png,val\nb,train\na,val\n")
    return tmp_path


def test_a_folder_is_read_in_order_of_names(folder):
    read = read_labelled(folder)
    assert [image.name for image in read] == ["a", "b", "c"]
    assert [int(image.pixels[0, 0]) for image in read] == [1, 0, 2]
    assert read[0].labels.dtype == np.int32
    np.testing.assert_array_equal(read[0].labels, LABELS)


def test_a_split_takes_names_with_and_without_ending(folder):
    assert [image.name for image in read_labelled(folder, split="val")] == ["c", "a"]
    assert [image.name for image in read_labelled(str(folder), split="train")] == ["b"]
    (folder / "labels" / "b.png").unlink()
    assert len(read_labelled(folder, split="val")) == 2  # what is not asked for is not missed


def test_a_second_folder_of_labels_as_segment_writes_them(folder):
    save(folder / "mine" / "a_labels.tif", LABELS.astype(np.int32) * 2)
    save(folder / "mine" / "b.tif", LABELS)
    save(folder / "mine" / "c.tif", LABELS.astype(np.float32))
    read = read_labelled(folder / "images", labels=folder / "mine")
    ids = [np.unique(image.labels).tolist() for image in read]
    assert ids == [[0, 14, 600], [0, 7, 300], [0, 7, 300]]


def test_what_lacks_its_partner_is_named(folder):
    (folder / "labels" / "c.png").rename(folder / "labels" / "d.png")
    with pytest.raises(ValueError, match=r"none for .*images/c\.png"):
        read_labelled(folder)
    save(folder / "labels" / "c.png", LABELS)
    with pytest.raises(ValueError, match=r"none for .*labels/d\.png"):
        read_labelled(folder)


def test_sizes_that_differ_are_named(folder):
    save(folder / "labels" / "b.png", LABELS[:2])
    with pytest.raises(
        ValueError, match=r"images/b\.png, \(3, 4\), got \(2, 4\) in .*labels/b\.png"
    ):
        read_labelled(folder)


@pytest.mark.parametrize(
    ("break_it", "error", "said"),
    [
        (lambda f: (f / "split.csv").unlink(), FileNotFoundError, "split.csv"),
        (lambda f: (f / "split.csv").write_text("a,b\n1,2\n"), ValueError, "columns image and"),
        (lambda f: (f / "split.csv").write_text("image,split\na,x\n"), ValueError, "out of x "),
        (lambda f: (f / "split.csv").write_text("image,split\n../a,val\n"), ValueError, r"\.\./a"),
        (lambda f: (f / "labels").rename(f / "truth"), FileNotFoundError, "labels"),
        (lambda f: save(f / "images" / "a.tif", PIXELS), ValueError, "one file named a"),
        (
            lambda f: save(f / "labels" / "a.png", PIXELS[..., None].repeat(3, 2)),
            ValueError,
            "shape",
        ),
    ],
)
def test_errors_say_what_was_expected(folder, break_it, error, said):
    break_it(folder)
    with pytest.raises(error, match=said):
        read_labelled(folder, split="val")


def test_indexed_png_holds_its_indices(tmp_path):
    indexed = Image.fromarray((LABELS % 9).astype(np.uint8))
    indexed.putpalette([200, 10, 30] * 256)
    indexed.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), LABELS % 9)


def test_ids_beyond_int32_are_counted_anew():
    large = np.array([[0, 2**40, 5], [2**63 - 1, 5, 2**40]], np.uint64)
    np.testing.assert_array_equal(checked_labels(large, "x"), [[0, 2, 1], [3, 1, 2]])
    np.testing.assert_array_equal(checked_labels(large[:, 1:], "x"), [[2, 1], [1, 2]])
    for wrong in (np.array([[0, -1]]), np.array([[0.5]]), np.array([[np.nan]])):
        with pytest.raises(ValueError, match="Expected"):
            checked_labels(wrong, "x")


@pytest.fixture
def coco(folder):
    """An annotation file: a square upon another, runs of both kinds, a crowd."""
    runs = mask_to_rle(LABELS == 300)
    data = {
        "images": [{"id": 5, "file_name": "c.png"}, {"id": 2, "file_name": "a.png"}],
        "annotations": [
            {"image_id": 5, "segmentation": [[2, 1, 3, 1, 3, 2, 2, 2]]},
            {"image_id": 5, "segmentation": [[0, 0, 4, 0, 4, 3, 0, 3]]},
            {"image_id": 2, "segmentation": runs},
            {"image_id": 2, "segmentation": rle_to_coco(mask_to_rle(LABELS == 7)), "iscrowd": 0},
            {"image_id": 2, "segmentation": runs, "iscrowd": 1},
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(data))
    return path, data


def test_coco_outlines_become_labels(folder, coco):
    large, runs = read_labelled(folder / "images", labels=coco[0])
    assert (large.name, runs.name) == ("c", "a")
    expected = np.full((3, 4), 2)
    expected[1, 2] = 1  # the small one lies upon the large one
    np.testing.assert_array_equal(large.labels, expected)
    np.testing.assert_array_equal(runs.labels, (LABELS == 300) + 2 * (LABELS == 7))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["images"][0].update(file_name="../a.png"), "inside of the image folder"),
        (lambda d: d["images"][0].update(file_name="/etc/a.png"), "inside of the image folder"),
        (lambda d: d["images"][0].update(file_name="none.png"), "no such file"),
        (lambda d: d["annotations"][0].update(image_id=99), "KeyError"),
        (lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3]]), "object 1 of c.png"),
        (lambda d: d["annotations"][2]["segmentation"].update(size=[2, 2]), "3 x 4 pixels"),
        (
            lambda d: d["annotations"][2]["segmentation"].update(counts=[5, 99]),
            "12 pixels together",
        ),
        (lambda d: d["annotations"][3]["segmentation"].update(counts="zzzz"), "object 2 of a.png"),
        (lambda d: d.pop("images"), "Expected COCO annotations"),
    ],
)
def test_bad_annotations_are_told(folder, coco, change, said):
    path, data = coco
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=said):
        read_labelled(folder / "images", labels=path)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_runs_of_both_kinds_give_the_mask_back(mask):
    runs = mask_to_rle(mask)
    for form in (runs, rle_to_coco(runs)):
        np.testing.assert_array_equal(segmentation_mask(form, mask.shape), mask)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.integers(1, 4))
def test_rectangles_as_polygons_cover_their_pixels(x, y, w, h):
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    expected = np.zeros((10, 10), bool)
    expected[y : y + h, x : x + w] = True
    np.testing.assert_array_equal(segmentation_mask(outline, (10, 10)), expected)
    assert coco_mask.area(coco_mask.merge(coco_mask.frPyObjects(outline, 10, 10))) == w * h


def test_files_are_listed_without_being_read(folder):
    (folder / "images" / "a.png").write_bytes(b"damaged")
    files = labelled_files(folder)
    assert files[1] == LabelledFile("b", folder / "images" / "b.png", folder / "labels" / "b.png")
    with pytest.raises(ValueError, match=r"could not read it"):
        files[0].read()
