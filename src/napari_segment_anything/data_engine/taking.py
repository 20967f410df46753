"""Labels that a person made or corrected elsewhere, as an annotation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..evaluation.matching import iou_of
from .annotator import ids_by_size
from .canvas import Mask, Proposals
from .records import Annotation, Effort, Labels, ObjectRecord, Origin

LEAST_SHARED_IOU = 0.5
"""A label that shares more with a pre-filled mask is that mask, corrected."""


def taken(
    labels: Labels, proposals: Proposals | None = None, seconds: float | None = None
) -> Annotation:
    """Labels (H, W), any ids, of one image as an annotation; ids stay.

    A label that is a pre-filled mask to the pixel keeps its prompt and scores, one that shares
    more than half with it is a corrected one, all others were drawn by hand, with or without the
    model's help. Pre-filled masks of which neither is left were rejected. ``seconds``: what the
    person says it took. Clicks nobody counted.

    Raises:
        ValueError: labels of another size than the pre-filled ones.
    """
    if proposals is not None and proposals.labels.shape != labels.shape:
        raise ValueError(
            f"Expected labels {proposals.labels.shape} as pre-filled, got {labels.shape}."
        )
    uncounted = Effort(None, None, None, None, None)
    ids = sorted(ids_by_size(labels))
    if proposals is None:
        objects = [ObjectRecord(i, Origin.BY_HAND, effort=uncounted) for i in ids]
        return Annotation(labels, tuple(objects), Effort(None, None, 0, None, seconds))
    objects, met = [], set()
    for i in ids:
        mask = labels == i
        partner = _partner(mask, proposals)
        if partner is None:
            objects.append(ObjectRecord(i, Origin.BY_HAND, effort=uncounted))
            continue
        met.add(partner.label)
        if iou_of(mask, proposals.labels == partner.label) == 1:
            objects.append(replace(partner, label=i, effort=uncounted))
        else:
            objects.append(ObjectRecord(i, Origin.CORRECTED, effort=uncounted))
    count = len(proposals.objects)
    effort = Effort(None, None, count - len(met), None, seconds)
    return Annotation(labels, tuple(objects), effort, count)


def _partner(mask: Mask, proposals: Proposals) -> ObjectRecord | None:
    """The pre-filled object that shares more than half with a mask (H, W); there is one at most."""
    for i in np.unique(proposals.labels[mask]):
        if i > 0 and iou_of(mask, proposals.labels == i) > LEAST_SHARED_IOU:
            return next(record for record in proposals.objects if record.label == i)
    return None
