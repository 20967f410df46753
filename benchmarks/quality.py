"""How good are the masks? A model on held-out images, per image kind.

    python benchmarks/quality.py --data FOLDER [--model nano] [--limit N] [--json FILE]
                                 [--auto | --corrupt | --empty N]

FOLDER holds images/, labels/ and split.csv. Every object of the chosen split is prompted alone:
by one click at its centre (the pixel farthest from its border), by its tight box, and by the
centre click with one to three corrections at the middle of the largest error. The mask is the
candidate with the highest predicted IoU; means are over all objects pooled.

--auto segments the whole images instead, with the model's own settings, from a plain grid of
32 x 32 prompts, and by Otsu's threshold with a watershed: AP = TP / (TP + FP + FN), pooled.
--corrupt does both on copies made worse, and shows what is left of the clean images' scores.
--empty counts what is found in N drawn fields of each kind in which there is nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_segment_anything import Model, auto_mask, load_model
from napari_segment_anything.evaluation.baselines import otsu_watershed, plain_grid
from napari_segment_anything.evaluation.corruptions import CORRUPTIONS, corrupted
from napari_segment_anything.evaluation.empty_fields import FIELDS, empty_field
from napari_segment_anything.evaluation.evaluate import Plan, evaluate_image
from napari_segment_anything.evaluation.instances import InstanceScores, pooled
from napari_segment_anything.evaluation.matching import Overlaps, overlaps_of
from napari_segment_anything.evaluation.report import table
from napari_segment_anything.evaluation.summary import pooled_prompts, summarised
from napari_segment_anything.inference.preprocess import to_rgb8
from napari_segment_anything.io.labelled import LabelledFile, LabelledImage, labelled_files
from napari_segment_anything.training.data import image_kind

CORRECTIONS = 3
Rows = list[dict[str, Any]]
Files = list[LabelledFile]


def by_kind(files: Files) -> Iterator[tuple[tuple[str, str], LabelledImage]]:
    """Each image with the groups it counts in: its kind, and all."""
    for file in files:
        image = file.read()
        yield (image_kind(to_rgb8(image.pixels)), "all"), image


def in_order(groups: Mapping[str, Any]) -> list[str]:
    return sorted(groups, key=lambda kind: (kind == "all", kind))


def methods(model: Model) -> dict[str, Callable[[NDArray[Any]], NDArray[np.int32]]]:
    """Name -> pixels to labels."""
    return {
        f"{model.name}, own settings": lambda pixels: auto_mask(model, pixels)[0],
        f"{model.name}, plain 32 x 32 grid": lambda pixels: plain_grid(model, pixels),
        "Otsu + watershed": otsu_watershed,
    }


def prompt_table(model: Model, files: Files, corrections: int) -> Rows:
    """Mean IoU of each prompt, and how far off the first click's predicted IoU is."""
    plan = Plan(clicks=corrections + 1, box_rounds=1, auto=False)
    groups: dict[str, list[Any]] = {}
    for kinds, image in by_kind(files):
        scores = evaluate_image(model, image, plan)
        for kind in kinds:
            groups.setdefault(kind, []).extend(scores.objects)
    rows = []
    for kind in in_order(groups):
        scores = pooled_prompts(groups[kind])
        row = {"images": kind, "objects": scores.objects, "centre click": scores.click_iou[0]}
        row["tight box"] = scores.box_iou[0]
        row |= {f"+ {n} corrections": scores.click_iou[n] for n in range(1, corrections + 1)}
        rows.append(row | {"abs. error of predicted IoU": scores.calibration.mean_error})
    return rows


def auto_table(model: Model, files: Files) -> Rows:
    """Whole images by each method: objects, AP, SBD, AJI and time."""
    groups: dict[str, dict[str, list[tuple[Overlaps, float]]]] = {}
    for kinds, image in by_kind(files):
        for method, segment in methods(model).items():
            started = time.perf_counter()
            found = segment(image.pixels)
            seconds = time.perf_counter() - started
            answer = overlaps_of(found, image.labels), seconds
            for kind in kinds:
                groups.setdefault(kind, {}).setdefault(method, []).append(answer)
    rows = []
    for kind in in_order(groups):
        for method, answers in groups[kind].items():
            overlaps, seconds = zip(*answers, strict=True)
            head = {"images": kind, "method": method}
            time_taken = {"seconds an image": float(np.mean(seconds))}
            rows.append(head | auto_cells(pooled(overlaps)) | time_taken)
    return rows


def auto_cells(scores: InstanceScores) -> dict[str, Any]:
    return {
        "objects": scores.true,
        "found": scores.found,
        "AP 0.5": scores.average_precision[0.5],
        "mean AP 0.5:0.9": scores.mean_ap,
        "SBD": scores.sbd,
        "AJI": scores.aji,
    }


def corrupt_table(model: Model, files: Files) -> Rows:
    """First click, box and whole images on each corruption, and as a part of the clean scores."""
    plan = Plan(clicks=1, box_rounds=1)
    images = [file.read() for file in files]
    rows: Rows = []
    for name in ("clean", *CORRUPTIONS):
        worse = images if name == "clean" else [corrupted(image, name) for image in images]
        scores = summarised([evaluate_image(model, image, plan) for image in worse])
        if scores.prompts is None or scores.whole is None:
            raise SystemExit("Expected images with objects, found none.")
        values = {
            "centre click": scores.prompts.click_iou[0],
            "tight box": scores.prompts.box_iou[0],
            "AP 0.5": scores.whole.average_precision[0.5],
            "mean AP 0.5:0.9": scores.whole.mean_ap,
        }
        row: dict[str, Any] = {"images": name, "objects": scores.prompts.objects}
        for what, value in values.items():
            clean = rows[0][what] if rows else value
            row |= {what: value, f"{what}, of clean": value / clean if clean else 1.0}
        rows.append(row)
    return rows


def empty_table(model: Model, count: int) -> Rows:
    """False objects an image, by kind of field and method."""
    rows = []
    for kind in FIELDS:
        row: dict[str, Any] = {"empty field": kind, "images": count}
        for method, segment in methods(model).items():
            found = [segment(empty_field(kind, seed)).max() for seed in range(count)]
            row[method] = float(np.mean(found))
        rows.append(row)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, help="first N images only")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--auto", action="store_true", help="segment whole images")
    mode.add_argument("--corrupt", action="store_true", help="images made worse, against clean")
    mode.add_argument("--empty", type=int, metavar="N", help="N empty fields of each kind")
    parser.add_argument("--corrections", type=int, default=CORRECTIONS)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    args = parser.parse_args()
    model = load_model(args.model, precision=args.precision)
    started = time.perf_counter()
    files = labelled_files(args.data, split=args.split)[: args.limit]
    if args.auto:
        rows = auto_table(model, files)
    elif args.corrupt:
        rows = corrupt_table(model, files)
    elif args.empty:
        rows = empty_table(model, args.empty)
    else:
        rows = prompt_table(model, files, args.corrections)
    seconds = time.perf_counter() - started
    print(f"{model.name} {model.digest[:12]} {model.precision} on {args.split}, {seconds:.0f} s\n")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
