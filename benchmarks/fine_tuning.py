"""What a model learns of a few labelled images that it has never seen, and what that takes.

    python benchmarks/fine_tuning.py --data FOLDER [--kind "stained tissue"] [--images 8]
                                     [--model nano] [--what decoder] [--steps 200] [--json FILE]

Of the images of one kind in the chosen split every second one is trained on, at most as many as
--images says, and as many of the others tell what was learnt: clicks, boxes and whole images,
before and after. The split should be one on which the model was not trained.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from napari_segment_anything import load_model
from napari_segment_anything.evaluation.evaluate import Plan, evaluate_image
from napari_segment_anything.evaluation.report import table
from napari_segment_anything.evaluation.summary import summarised
from napari_segment_anything.inference.preprocess import to_rgb8
from napari_segment_anything.io.labelled import LabelledImage, labelled_files
from napari_segment_anything.training.data import image_kind
from napari_segment_anything.training.fit import FitProgress, FitSettings, fit

PLAN = Plan(clicks=4, box_rounds=1)


def scores(model: str | Path, images: list[LabelledImage]) -> dict[str, Any]:
    """One row of the table."""
    loaded = load_model(model)
    found = summarised([evaluate_image(loaded, image, PLAN) for image in images])
    if found.prompts is None or found.whole is None:
        raise SystemExit("Expected images with objects, found none.")
    return {
        "objects": found.prompts.objects,
        "centre click": found.prompts.click_iou[0],
        "+ 3 corrections": found.prompts.click_iou[3],
        "tight box": found.prompts.box_iou[0],
        "AP 0.5": found.whole.average_precision[0.5],
        "mean AP 0.5:0.9": found.whole.mean_ap,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--kind", default="stained tissue")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--what", default="decoder")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    args = parser.parse_args()
    images = [file.read() for file in labelled_files(args.data, split=args.split)]
    images = [image for image in images if image_kind(to_rgb8(image.pixels)) == args.kind]
    learnt, held_out = images[::2][: args.images], images[1::2][: args.images]
    print(f"{len(learnt)} images to learn from, {len(held_out)} to tell, {args.kind}")
    rows = [{"model": args.model, **scores(args.model, held_out)}]
    settings = FitSettings(steps=args.steps, what=args.what, learning_rate=args.learning_rate)

    def say(state: FitProgress) -> None:
        if state.score is not None:
            print(f"step {state.step} of {state.steps}: score {state.score:.3f}")

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run = fit(args.model, learnt, folder=folder, settings=settings, progress=say)
        minutes = (time.perf_counter() - started) / 60
        rows.append({"model": f"{args.what}, {args.steps} steps", **scores(run.best, held_out)})
    print(f"trained in {minutes:.1f} minutes\n")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"minutes": minutes, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
