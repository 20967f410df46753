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
from ..structures import Progress

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
        middles = np.zeros((self.count, 2))
        for number, (rows, cols) in enumerate(ndimage.find_objects(self.markers), start=1):
            # A seed at the image's edge ends there, too.
            within = np.pad(self.markers[rows, cols] == number, 1)
            inside = ndimage.distance_transform_edt(within)[1:-1, 1:-1]
            y, x = np.unravel_index(inside.argmax(), inside.shape)
            middles[number - 1] = x + cols.start, y + rows.start
        return middles


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


def grown(seeds: Seeds, least_area: int = 0, progress: Progress | None = None) -> Labels:
    """(H, W) labels, each object with its seed's number.

    Foreground without a seed stays background, and so do objects of fewer than ``least_area``
    pixels. ``progress(done, total)`` counts pieces of foreground that several seeds share.
    """
    pieces = label(seeds.foreground, connectivity=1)  # what a watershed floods from pixel to pixel
    lowest, highest = _seeds_in(pieces, seeds.markers)
    labels: Labels = np.where(lowest == highest, highest, 0)[pieces]
    places = ndimage.find_objects(pieces)
    shared = np.flatnonzero(lowest < highest)
    for done, piece in enumerate(shared.tolist(), start=1):
        place = places[piece - 1]
        mask = pieces[place] == piece
        flooded = watershed(seeds.depth[place], seeds.markers[place], mask=mask)
        labels[place][mask] = flooded[mask]
        if progress is not None:
            progress(done, len(shared))
    if least_area > 0:
        small = np.bincount(labels.ravel()) < least_area
        labels[small[labels]] = 0
    return labels


def _seeds_in(pieces: NDArray[np.integer], markers: Labels) -> tuple[Labels, Labels]:
    """Lowest and highest seed in each piece, by the pieces' numbers; 0 and -1 where is none."""
    marked = (markers > 0) & (pieces > 0)
    highest = np.full(int(pieces.max(initial=0)) + 1, -1, np.int32)
    np.maximum.at(highest, pieces[marked], markers[marked])
    lowest = np.maximum(highest, 0)
    np.minimum.at(lowest, pieces[marked], markers[marked])
    return lowest, highest


def smoothed(values: FloatMap, sigma_px: float) -> FloatMap:
    """A Gaussian of ``sigma_px``, cut at three of it, mirrored at edges; the map itself for 0."""
    if sigma_px == 0:
        return values
    out: FloatMap = ndimage.gaussian_filter(values, sigma_px, mode="mirror", truncate=3.0)
    return out
