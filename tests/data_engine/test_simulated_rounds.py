"""Projects for a simulated person, out of labelled images."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from tests.pictures import disks

from napari_segment_anything import load_model
from napari_segment_anything.data_engine.simulation import Setup, simulated_project
from napari_segment_anything.io.labelled import LabelledImage
from napari_segment_anything.io.writing import write_tiff
from napari_segment_anything.zoo.loader import built_in_path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four images for training and two for validation; each has its number as grey value."""
    folder = tmp_path_factory.mktemp("data")
    lines = ["image,split"]
    for i in range(6):
        labels = disks((40, 30), [(20, 15, 5)])[1]
        for part, pixels in (("images", np.where(labels, 10 * i, 200)), ("labels", labels)):
            (folder / part).mkdir(exist_ok=True)
            write_tiff(folder / part / f"{i}.tif", pixels.astype(np.uint8))
        lines.append(f"{i}.tif,{'train' if i < 4 else 'val'}")
    (folder / "split.csv").write_text("\n".join(lines))
    return folder


def test_images_come_from_their_splits(data, tmp_path):
    project = simulated_project(tmp_path / "p", data, Setup(images=3, held_out=2, seed=5))
    assert len(project.images()) == 3 and set(project.images()) < set("0123")
    assert {image.name for image in project.held_out()} == {"4", "5"}
    truth = project.truth()
    assert set(truth) == set(project.images())
    for name in truth:
        assert (truth[name] == tifffile.imread(data / "labels" / f"{name}.tif")).all()
    other = simulated_project(tmp_path / "q", data, Setup(images=3, held_out=2, seed=6))
    assert set(other.images()) != set(project.images())


def test_again_changes_nothing(data, tmp_path):
    setup = Setup(images=2, held_out=1, noise=0.5)
    files = []
    for _ in range(2):
        project = simulated_project(tmp_path / "p", data, setup)
        paths = sorted(p for p in project.folder.rglob("*") if p.is_file())
        files.append([(p, p.stat().st_mtime_ns) for p in paths])
    assert files[0] == files[1]
    with pytest.raises(ValueError, match=r"the model 'models/start\.safetensors'"):
        simulated_project(tmp_path / "p", data, Setup(images=2, held_out=1))


def test_images_are_cut_to_their_middle_and_made_worse(data, tmp_path):
    setup = Setup(images=1, held_out=1, image_px=20, corruption="inverted")
    project = simulated_project(tmp_path / "p", data, setup)
    (name,) = project.images()
    whole = LabelledImage(
        name, *(tifffile.imread(data / part / f"{name}.tif") for part in ("images", "labels"))
    )
    middle = (slice(10, 30), slice(5, 25))
    cut = whole.pixels[middle].astype(int)
    assert (project.picture(name).pixels == cut.min() + cut.max() - cut).all()
    assert (project.truth()[name] == whole.labels[middle]).all()


def test_noise_is_in_the_decoder_alone(data, tmp_path):
    setup = Setup(images=1, held_out=1, noise=0.5)
    project = simulated_project(tmp_path / "p", data, setup)
    assert project.start_model == str(tmp_path / "p" / "models" / "start.safetensors")
    weak, strong = (
        load_model(m, "cpu", "fp32").sam for m in (project.start_model, built_in_path())
    )
    changed = set()
    for name, weight in strong.state_dict().items():
        noise = weak.state_dict()[name] - weight
        if noise.any():
            changed.add(name.split(".")[0])
            if noise.numel() > 10_000:
                assert float(noise.std()) == pytest.approx(0.5 * float(weight.std()), rel=0.05)
    assert changed == {"mask_decoder"}


def test_too_few_images(data, tmp_path):
    with pytest.raises(ValueError, match="Expected 5 labelled images or more, got 4"):
        simulated_project(tmp_path / "p", data, Setup(images=5))
