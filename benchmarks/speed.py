"""How much faster than the reference, on the same answers? Writes results.md and a plot.

    python -m benchmarks.speed [--only encode click ...] [--pairs 5]

What is measured takes its place in ``results.json``, from which the table is written.

Each row runs the reference and this package in turn, A B A B, on the same random weights, picture
and threads; a ratio is the reference's time over ours, the median over pairs. Peak memory is that
of a process of its own, less what it holds before the work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import napari_segment_anything as nsa

from . import agreement, contestants, profile_encode, report
from .contestants import picture
from .report import Row

HERE = Path(__file__).parent
CLICKS = 20


def paired(
    row: Row,
    reference: Callable[[], Any],
    ours: Callable[[], Any],
    pairs: int,
    warm_up: bool = True,
) -> Row:
    """Run both in turn ``pairs`` times; one time before, to warm up, does not count."""
    for i in range(-warm_up, pairs):
        for work, into in ((reference, row.reference), (ours, row.ours)):
            start = time.perf_counter()
            work()
            if i >= 0:
                into.append(time.perf_counter() - start)
    return row


def precisions() -> list[str]:
    """fp32, and what ``auto`` picks if that is another."""
    picked = nsa.load_model("nano", device="cpu").precision
    return ["fp32"] if picked == "fp32" else ["fp32", picked]


def encode_row(name: str, pairs: int, precision: str) -> Row:
    """Image encoder: (1024, 1024, 3) uint8 -> embedding."""
    image = picture()
    two = contestants.pair(name, precision)
    predictor = contestants.reference_package(name).SamPredictor(two.reference)
    targets = {("vit_b", "fp32"): ">= 1.35", ("vit_b", "bf16"): ">= 6 (AMX)"}
    row = Row(f"encode, {name}, {precision}", targets.get((name, precision), ""))
    paired(row, lambda: predictor.set_image(image), lambda: nsa.encode(two.ours, image), pairs)
    row.answers = agreement.of_embeddings(predictor, nsa.encode(two.ours, image))
    return row


def transformers_rows(package: Any, pairs: int, precisions: list[str]) -> Iterator[Row]:
    """Image encoder against the `SamModel` of Hugging Face's ``package``, if there is one."""
    if package is None:
        return
    # The default is vit_b; timing needs no common weights.
    theirs = package.SamModel(package.SamConfig()).eval()
    pixels, image = torch.randn(1, 3, contestants.SIDE, contestants.SIDE), picture()
    for precision in precisions:
        mine = contestants.ours("vit_b", None, precision)
        yield paired(
            Row(f"encode, vit_b, {precision}, against transformers", ""),
            partial(theirs.get_image_embeddings, pixels),
            partial(nsa.encode, mine, image),
            pairs,
        )


def click_row(pairs: int, precision: str) -> Row:
    """One click on an encoded image -> three masks at its size, predicted IoU, logits."""
    image = picture()
    points = np.random.default_rng(1).uniform(0, contestants.SIDE, (CLICKS, 1, 2))
    two = contestants.pair("vit_b", precision)
    predictor = contestants.reference_package("vit_b").SamPredictor(two.reference)
    predictor.set_image(image)
    embedding = nsa.encode(two.ours, image)

    def theirs() -> list[Any]:
        return [predictor.predict(point, np.array([1])) for point in points]

    def mine() -> list[Any]:
        return [nsa.predict(two.ours, embedding, point, [1]) for point in points]

    row = paired(Row(f"one click, vit_b, {precision}", ">= 3"), theirs, mine, pairs)
    row.reference = [t / CLICKS for t in row.reference]
    row.ours = [t / CLICKS for t in row.ours]
    row.answers = agreement.of_clicks(theirs(), mine())
    return row


def automask_row(pairs: int, precision: str) -> Row:
    """Whole image, 32 x 32 points, encoding included; about a tenth of the candidates survives."""
    image = picture()
    two = contestants.pair("vit_b", precision)
    settings = agreement.surviving_settings(two, image)
    generator = contestants.reference_package("vit_b").SamAutomaticMaskGenerator(
        two.reference, **settings
    )
    answers: dict[str, Any] = {}

    def theirs() -> None:
        answers["theirs"] = generator.generate(image)

    def mine() -> None:
        answers["mine"] = agreement.records_of(two.ours, image, settings)

    target = ">= 2.5" if precision == "fp32" else ">= 8 (AMX)"
    row = Row(f"auto-mask, vit_b, {precision}", target)
    paired(row, theirs, mine, pairs, warm_up=False)  # it takes minutes: nothing cold matters
    threshold = settings["pred_iou_thresh"]
    row.answers = agreement.of_records(answers["theirs"], answers["mine"], threshold)
    return row


def memory_rows() -> Iterator[Row]:
    """Peak of a process that builds the model and does the work once."""
    two = contestants.pair("vit_b")
    settings = json.dumps(agreement.surviving_settings(two, picture()))
    level = str(two.ours.sam.mask_threshold)
    for work in ("encode", "automask"):
        row = Row(f"peak memory, {work}, vit_b, fp32", "<= 60 % of it", unit="MiB")
        for who, into in (("reference", row.reference), ("ours", row.ours)):
            into.append(_told("benchmarks.peak_memory", who, work, level, settings))
        row.answers = f"{row.ours[0] / row.reference[0]:.0%} of the reference's"
        yield row


def _told(module: str, *arguments: str) -> float:
    """The number that a module of ours prints last, run in a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def start_rows(repeats: int = 5) -> Iterator[Row]:
    """Import of the package, and from the dock's opening to the first mask with nano."""
    timed = {
        "import napari_segment_anything": ("<= 0.1 s", "benchmarks.start_import"),
        "dock opens to first click's mask, nano, 512 x 512": ("<= 3 s", "benchmarks.start_dock"),
    }
    for work, (target, module) in timed.items():
        row = Row(work, target)
        told = [_told(module) for _ in range(repeats + 1)]
        row.ours = told[1:]  # the first run warms the file cache
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = ("encode", "click", "automask", "vit_t", "transformers", "memory", "start")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--precision", nargs="+", default=None, help="fp32 and what auto picks")
    chosen = parser.parse_args()
    torch.set_grad_enabled(False)
    names = chosen.precision or precisions()
    pairs = chosen.pairs
    package = contestants.hugging_face() if "transformers" in chosen.only else None
    sources: dict[str, Callable[[], Iterable[Row]]] = {
        "encode": lambda: (encode_row("vit_b", pairs, name) for name in names),
        "click": lambda: (click_row(pairs, name) for name in names),
        "automask": lambda: (automask_row(max(1, pairs // 2), name) for name in names),
        "vit_t": lambda: (encode_row("vit_t", pairs, name) for name in names),
        "transformers": lambda: transformers_rows(package, pairs, names),
        "memory": memory_rows,
        "start": start_rows,
    }
    for kind in chosen.only:
        for row in sources[kind]():
            print(report.line(row), flush=True)
            report.keep(row, HERE)
    if "encode" in chosen.only:
        report.keep_profiles({n: profile_encode.of_encode("vit_b", n) for n in names}, HERE)
    report.write(HERE)


if __name__ == "__main__":
    main()
