"""Maps of foreground and distances -> objects: seeds where both distances are small, then floods.

The steps and defaults are micro-sam's (Archit et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed

from ..config import AutoMaskSettings
from ..inference.instance_maps import FloatMap, InstanceMaps

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Seeds:
    """Where objects begin, and where they may grow; all (H, W).

    ``markers`` are 1..n in connected middles of objects, 0 elsewhere; ``depth`` is the smoothed
    boundary distance, which is flooded; ``foreground`` is where objects may be.
    """

    markers: Labels
    depth: FloatMap
    foreground: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.markers.max(initial=0))

    def middles_xy(self) -> NDArray[np.float64]:
        """(n, 2) image pixels (x, y): of each seed the pixel farthest from its border."""
        # A seed at the image's edge ends there, too.
        within = np.pad(self.markers > 0, 1)
        inside = ndimage.distance_transform_edt(within)[1:-1, 1:-1]
        places = ndimage.maximum_position(inside, self.markers, range(1, self.count + 1))
        return np.array(places, np.float64).reshape(-1, 2)[:, ::-1]


def find_seeds(maps: InstanceMaps, settings: AutoMaskSettings) -> Seeds:
    """Connected pixels of the foreground near to a centre and far from boundaries."""
    foreground = smoothed(maps.foreground, settings.foreground_smoothing)
    centre = smoothed(maps.centre_distance, settings.distance_smoothing)
    depth = smoothed(maps.boundary_distance, settings.distance_smoothing)
    is_object = foreground > settings.foreground_threshold
    is_middle = (
        (centre < settings.center_distance_threshold)
        & (depth < settings.boundary_distance_threshold)
        & is_object
    )
    return Seeds(label(is_middle).astype(np.int32), depth, is_object)


def grown(seeds: Seeds, least_area: int = 0) -> Labels:
    """(H, W) labels, each object with its seed's number.

    Foreground without a seed stays background, and so do objects of fewer than ``least_area``
    pixels.
    """
    labels: Labels = watershed(seeds.depth, seeds.markers, mask=seeds.foreground)
    if least_area > 0:
        small = np.bincount(labels.ravel()) < least_area
        labels[small[labels]] = 0
    return labels


def smoothed(values: FloatMap, sigma_px: float) -> FloatMap:
    """A Gaussian of ``sigma_px``, cut at three of it, mirrored at edges; the map itself for 0."""
    if sigma_px == 0:
        return values
    out: FloatMap = ndimage.gaussian_filter(values, sigma_px, mode="mirror", truncate=3.0)
    return out
