"""Crops turned and bent: image, validity and labels move together."""

import numpy as np
import torch

from napari_segment_anything.training import augment
from napari_segment_anything.training.augment import bent, noisy, stained


def scene():
    """Two disks at their label's brightness on a dark crop, all of it inside."""
    y, x = np.mgrid[:128, :128]
    labels = np.zeros((128, 128), np.int64)
    labels[(y - 50) ** 2 + (x - 50) ** 2 < 20**2] = 70_001  # float32 would still hold it, int16 not
    labels[(y - 80) ** 2 + (x - 90) ** 2 < 12**2] = 3
    image = np.repeat(np.where(labels == 3, 100.0, np.where(labels > 3, 200.0, 0.0))[None], 3, 0)
    return torch.from_numpy(image).float(), torch.ones(1, 128, 128), torch.from_numpy(labels)


def test_labels_stay_on_their_pixels():
    for seed in range(5):
        image, inside, labels = bent(np.random.default_rng(seed), *scene())
        assert image.dtype == torch.float32 and labels.dtype == torch.int64
        assert set(labels.unique().tolist()) <= {0, 3, 70_001}
        for label, brightness in ((3, 100), (70_001, 200)):
            pixels = image[0][labels == label]
            assert (pixels - brightness).abs().median() < 1
        area = int((labels == 70_001).sum())
        assert 0.8 * 1257 < area < 1.25 * 1257  # turned, stretched and bent, not zoomed
        assert bool((labels[inside[0] == 0] == 0).all())


def test_it_does_turn_and_bend():
    image, inside, labels = scene()
    a = bent(np.random.default_rng(1), image, inside, labels)
    b = bent(np.random.default_rng(2), image, inside, labels)
    again = bent(np.random.default_rng(1), image, inside, labels)
    assert not torch.equal(a[2], labels) and not torch.equal(a[2], b[2])
    assert all(torch.equal(x, y) for x, y in zip(a, again, strict=True))


def test_a_crop_without_background_keeps_its_labels():
    full = torch.full((32, 32), 5, dtype=torch.int64)
    _, inside, labels = bent(
        np.random.default_rng(0), torch.ones(3, 32, 32), torch.ones(1, 32, 32), full
    )
    assert bool((labels[inside[0] > 0] == 5).all()) and int(labels[16, 16]) == 5


def test_noise_is_as_strong_as_the_image_reaches(monkeypatch):
    monkeypatch.setattr(augment, "LARGEST_GRAIN_PX", 1.0)  # enlarging smooths
    ramp = torch.linspace(0, 1, 128).expand(3, 128, 128)
    parts = []
    for seed in range(40):
        bright, dim = (
            (noisy(np.random.default_rng(seed), high * ramp) - high * ramp) for high in (1.0, 0.1)
        )
        parts.append(float(bright.std()))
        assert torch.allclose(dim, 0.1 * bright, atol=1e-6)
    assert 0.005 < min(parts) < 0.03 and 0.1 < max(parts) < 0.13
    flat = torch.full((3, 16, 16), 0.5)
    assert torch.equal(noisy(np.random.default_rng(0), flat), flat)


def test_noise_is_of_camera_pixels_that_grow_with_the_image():
    flat = torch.linspace(0, 1, 128).expand(3, 128, 128)
    alike = []
    for seed in range(40):
        noise = (noisy(np.random.default_rng(seed), flat) - flat)[0, :, 96:]
        alike.append(float(np.corrcoef(noise[:, 1:].flatten(), noise[:, :-1].flatten())[0, 1]))
    assert min(alike) < 0.15 and max(alike) > 0.6


def test_some_noise_is_without_colour_and_some_grows_with_light():
    ramp = torch.linspace(0, 1, 128).expand(3, 128, 128)
    noise = [noisy(np.random.default_rng(seed), ramp) - ramp for seed in range(40)]
    assert 5 < sum(torch.equal(n[0], n[1]) for n in noise) < 40
    assert 8 < sum(bool(n[..., 96:].std() > 1.5 * n[..., :32].std()) for n in noise) < 32


def test_a_dyed_slide_is_dark_where_the_specimen_shone():
    image, _, labels = scene()
    seen = set()
    for seed in range(20):
        slide = stained(np.random.default_rng(seed), image / 255)
        assert slide.dtype == torch.float32 and slide.min() >= 0 and slide.max() <= 1
        lit = [float(slide.mean(0)[labels == label].mean()) for label in (0, 3, 70_001)]
        assert lit[2] < lit[1] < lit[0]
        seen.add(int(slide[:, labels == 70_001].mean(1).argmax()))
    assert len(seen) > 1  # blue slides and brown ones
