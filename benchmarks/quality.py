"""How good are the masks? Clicks and boxes on held-out images, per image kind.

    python benchmarks/quality.py --data FOLDER [--model nano] [--limit N] [--auto] [--json FILE]

FOLDER holds images/, labels/ and split.csv. Every object of the chosen split is prompted alone:
by one click at its centre (the pixel farthest from its border), by its tight box, and by the
centre click with one to three corrections at the middle of the largest error. The mask is the
candidate with the highest predicted IoU; means are over all objects pooled. With --auto the whole
images are segmented with the default settings instead: AP = TP / (TP + FP + FN), pooled.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_segment_anything import (
    Embedding,
    MaskPrediction,
    Model,
    auto_mask,
    encode,
    load_model,
    predict,
)
from napari_segment_anything.training.data import load_folder

CORRECTIONS = 3
PROMPTS = ("centre click", "tight box", *(f"+ {n} corrections" for n in range(1, CORRECTIONS + 1)))


@dataclass(frozen=True)
class ObjectScore:
    """IoU of each prompt of `PROMPTS` for one object, and |predicted - true| of its first click."""

    kind: str
    iou: tuple[float, ...]
    rating_error: float


def centre_of(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """(x, y) of the pixel of ``mask`` farthest from its border; the image's edge is a border."""
    y, x = np.nonzero(mask)
    low = (y.min(), x.min())
    part = np.pad(mask[low[0] : y.max() + 1, low[1] : x.max() + 1], 1)
    depth = ndimage.distance_transform_edt(part)
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(col - 1 + low[1]), float(row - 1 + low[0])


def iou_of(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """IoU of two masks of the same shape."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def best_of(prediction: MaskPrediction) -> tuple[NDArray[np.bool_], float, NDArray[np.float32]]:
    """Mask, predicted IoU and logits of the candidate rated best."""
    best = int(prediction.iou.argmax())
    return prediction.masks[best], float(prediction.iou[best]), prediction.logits[best]


def score_object(
    model: Model, embedding: Embedding, true: NDArray[np.bool_], kind: str, corrections: int
) -> ObjectScore:
    """All prompts on one object, ``true`` (H, W)."""
    y, x = np.nonzero(true)
    box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
    points, labels = [centre_of(true)], [1]
    mask, rating, logits = best_of(predict(model, embedding, points, labels))
    first = iou_of(mask, true)
    boxed = best_of(predict(model, embedding, box_xyxy=box))[0]
    ious = [first, iou_of(boxed, true)]
    for _ in range(corrections):
        missed, taken = true & ~mask, mask & ~true
        add = largest_part(missed), largest_part(taken)
        wanted = int(add[0].sum() >= add[1].sum())
        error = add[1 - wanted]
        if error.any():
            points.append(centre_of(error))
            labels.append(wanted)
            mask, _, logits = best_of(predict(model, embedding, points, labels, mask=logits))
        ious.append(iou_of(mask, true))
    return ObjectScore(kind, tuple(ious), abs(rating - first))


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of a mask."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == int(sizes.argmax()) + 1)


def score_folder(
    model: Model, data: Path, split: str, limit: int | None, corrections: int
) -> Iterator[ObjectScore]:
    """Scores of every object of the split's images, image by image."""
    for image in load_folder(data, split)[:limit]:
        embedding = encode(model, image.raw)
        for label in np.unique(image.labels):
            if label:
                yield score_object(model, embedding, image.labels == label, image.kind, corrections)


def matches(found: NDArray[np.integer], true: NDArray[np.integer]) -> NDArray[np.float64]:
    """IoU of each true object with the found one that it overlaps best, objects in label order."""
    columns = int(found.max()) + 1
    pairs = true.astype(np.int64).ravel() * columns + found.ravel()
    shared = np.bincount(pairs, minlength=(int(true.max()) + 1) * columns).reshape(-1, columns)
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    iou = shared / np.maximum(union, 1)
    return np.asarray(iou[1:, 1:].max(axis=1, initial=0)[shared[1:].sum(1) > 0])


def auto_table(model: Model, data: Path, split: str, limit: int | None) -> list[dict[str, Any]]:
    """AP at IoU 0.5 and mean AP 0.5:0.9 per image kind; above 0.5 matches are one to one."""
    thresholds = np.arange(0.5, 0.91, 0.05)
    hits: dict[str, list[Any]] = {}
    for image in load_folder(data, split)[:limit]:
        started = time.perf_counter()
        found, _ = auto_mask(model, image.raw)
        seconds = time.perf_counter() - started
        best = matches(found, image.labels)
        true_positives = (best[:, None] > thresholds).sum(axis=0)
        counts = [true_positives, int(found.max()), len(best), seconds]
        for kind in (image.kind, "all"):
            hits.setdefault(kind, []).append(counts)
    rows = []
    for kind in sorted(hits, key=lambda k: (k == "all", k)):
        positives, found_count, true_count, seconds = (
            sum(c[i] for c in hits[kind]) for i in range(4)
        )
        ap = positives / (found_count + true_count - positives)
        rows.append(
            {
                "images": kind,
                "objects": true_count,
                "found": found_count,
                "AP 0.5": round(float(ap[0]), 4),
                "mean AP 0.5:0.9": round(float(ap.mean()), 4),
                "seconds an image": round(seconds / len(hits[kind]), 2),
            }
        )
    return rows


def table_of(scores: list[ObjectScore]) -> list[dict[str, Any]]:
    """A row per image kind and one for all: objects, mean IoU of each prompt, rating error."""
    rows = []
    for kind in [*sorted({s.kind for s in scores}), "all"]:
        chosen = [s for s in scores if kind in (s.kind, "all")]
        means = np.mean([s.iou for s in chosen], axis=0)
        row: dict[str, Any] = {"images": kind, "objects": len(chosen)}
        row |= {p: round(float(m), 4) for p, m in zip(PROMPTS, means, strict=False)}
        row["|predicted - true| IoU"] = round(float(np.mean([s.rating_error for s in chosen])), 4)
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(str(row[n]) for n in names) + " |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, help="first N images only")
    parser.add_argument("--auto", action="store_true", help="segment whole images")
    parser.add_argument("--corrections", type=int, default=CORRECTIONS)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    args = parser.parse_args()
    model = load_model(args.model, precision=args.precision)
    started = time.perf_counter()
    if args.auto:
        rows = auto_table(model, args.data, args.split, args.limit)
    else:
        scores = score_folder(model, args.data, args.split, args.limit, args.corrections)
        rows = table_of(list(scores))
    seconds = time.perf_counter() - started
    print(f"{model.name} {model.digest[:12]} {model.precision} on {args.split}, {seconds:.0f} s\n")
    print(markdown(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
