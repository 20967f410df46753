"""How noisy a picture is, and the same picture with its noise smoothed away."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

NOISY = 6.0
"""Grey levels of noise from which a picture is smoothed.

Six hundred of nuclei and fifteen that come with scikit-image have less than 5.7 as they are, except
a lawn with 12.6.
"""

QUIET = 3.0
"""Grey levels of noise that smoothing leaves, if `MOST_BLUR_PX` allows."""

MOST_BLUR_PX = 2.0

NORMAL_MEDIAN = 0.6745
"""The median of the absolute values of a normal distribution of deviation 1."""


def noise_level(rgb: NDArray[np.uint8]) -> float:
    """Deviation of a picture's noise from pixel to pixel, (H, W, 3), in grey levels of 0..255.

    That of the noisiest channel, by the operator of Immerkaer 1996 (doi 10.1006/cviu.1996.0060),
    second differences along both axes, which neither edges nor shading excite; of its values the
    median, so that texture in less than half of the picture plays no part. 0 below 3 x 3 pixels.
    """
    if min(rgb.shape[:2]) < 3:
        return 0.0
    grey = np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2])
    planes = np.moveaxis(rgb[..., :1] if grey else rgb, -1, 0).astype(np.int16)
    bends = np.abs(np.diff(np.diff(planes, 2, axis=1), 2, axis=2))
    # White noise of deviation 1 gives values of deviation 6: the root of the squared weights' sum.
    medians = [float(np.median(plane)) for plane in bends]
    return max(medians) / (6 * NORMAL_MEDIAN)


def quieted(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) -> the same if its noise is low, else smoothed as much as the noise asks for.

    A Gaussian of s pixels leaves 1 / (2 sqrt(pi) s) of white noise.
    """
    level = noise_level(rgb)
    if level < NOISY:
        return rgb
    blur_px = min(MOST_BLUR_PX, level / (2 * np.sqrt(np.pi) * QUIET))
    smooth = ndimage.gaussian_filter(rgb.astype(np.float32), (blur_px, blur_px, 0), mode="nearest")
    return np.asarray(np.rint(smooth), np.uint8)
