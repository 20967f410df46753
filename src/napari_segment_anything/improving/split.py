"""Labelled images -> those to learn from, and a held-out part to be judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..io.labelled import LabelledImage, object_count

LEAST_OBJECTS = 5
LEAST_HELD_OUT = 2
MOST_HELD_OUT = 100
HELD_OUT_PART = 0.2


@dataclass(frozen=True)
class Split:
    """``held_out`` shares no object with ``train``, and no pixel that ``train`` shows."""

    train: tuple[LabelledImage, ...]
    held_out: tuple[LabelledImage, ...]


def check_enough(count: int) -> None:
    """See that there are objects enough to learn from and to be judged by.

    Raises:
        ValueError: fewer than `LEAST_OBJECTS`.
    """
    if count < LEAST_OBJECTS:
        raise ValueError(
            f"Expected at least {LEAST_OBJECTS} labelled objects, got {count}; label "
            f"{LEAST_OBJECTS - count} more, twenty or so are a good start."
        )


def split(sources: Sequence[Sequence[LabelledImage]]) -> Split:
    """Hold out the last fifth of each source's objects, whole images first.

    Neighbouring planes of a stack show the same objects, so its end is held out in one piece; what
    remains to be held out is cut off one image. A source of fewer than `LEAST_OBJECTS` is learned
    from as a whole, unless there are no others.

    Args:
        sources: images in an order in which neighbours are alike.

    Raises:
        ValueError: too few objects in all, or all of them on one spot.
    """
    counts = [sum(object_count(i.labels) for i in images) for images in sources]
    check_enough(sum(counts))
    if all(count < LEAST_OBJECTS for count in counts):
        sources, counts = [[image for images in sources for image in images]], [sum(counts)]
    wanted = [min(_wanted(n), max(LEAST_HELD_OUT, MOST_HELD_OUT // len(counts))) for n in counts]
    train: list[LabelledImage] = []
    held_out: list[LabelledImage] = []
    for images, number in zip(sources, wanted, strict=True):
        kept, taken = _take_off(list(images), number)
        train += [image for image in kept if image.labels.size]
        held_out += taken
    if not any(image.labels.any() for image in train):
        raise ValueError(
            "Expected objects side by side, so that some can be held out, got all of them in one "
            "place; label some elsewhere."
        )
    return Split(tuple(train), tuple(held_out))


def _wanted(count: int) -> int:
    """How many of a source's objects to hold out."""
    if count < LEAST_OBJECTS:
        return 0
    return max(LEAST_HELD_OUT, math.ceil(count * HELD_OUT_PART))


def _take_off(
    images: list[LabelledImage], wanted: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """What is left of a source, and ``wanted`` or a few more objects off its end."""
    taken: list[LabelledImage] = []
    while wanted > 0 and images:
        last = images.pop()
        count = object_count(last.labels)
        if count > 1.5 * wanted or not images:
            kept, held_out = _cut(last, wanted)
            return [*images, kept], [*taken, held_out]
        taken.append(last)
        wanted -= count
    return images, taken


def _cut(image: LabelledImage, wanted: int) -> tuple[LabelledImage, LabelledImage]:
    """One image cut across the side along which its objects are spread most.

    The first part ends where the held-out objects begin; the second is all of the image, as the
    model will see it in use, with the labels of the held-out objects alone. Objects on the cut
    are learned from as far as they are in the first part.
    """
    ids, numbers = np.unique(image.labels, return_inverse=True)
    numbers = numbers.reshape(image.labels.shape) + int(ids[0] > 0)
    found = ndimage.find_objects(numbers)
    corners = np.array([[place.start for place in one] for one in found])
    axis = int(np.argmax(corners.std(axis=0)))
    begins, ends = corners[:, axis], np.array([one[axis].stop for one in found])
    most = min(len(begins) - 1, wanted + wanted // 2)
    candidates = np.sort(begins)[::-1][wanted - 1 : most]
    on_the_cut = [int(((begins < at) & (ends > at)).sum()) for at in candidates]
    at = int(candidates[int(np.argmin(on_the_cut))])
    part = (slice(None), slice(at)) if axis else (slice(at), slice(None))
    first = replace(image, pixels=image.pixels[part], labels=image.labels[part])
    is_held_out = np.concatenate([[False], begins >= at])
    labels = np.where(is_held_out[numbers], image.labels, 0).astype(np.int32)
    return first, replace(image, labels=labels)
