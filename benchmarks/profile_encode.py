"""Where the time of an encode goes, and how far it is from the machine's own limits.

The roofline is the time that the products alone would take at the rate of this machine's best
large matrix product, measured in the same run: nothing that computes the same can be faster.
"""

from __future__ import annotations

import time

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import napari_segment_anything as nsa

from . import contestants

GROUPS = {
    "matrix products": {"addmm", "mm", "mkldnn_convolution", "convolution", "_convolution"},
    "attention": {
        "bmm",
        "baddbmm",
        "baddbmm_",
        "_softmax",
        "_scaled_dot_product_flash_attention_for_cpu",
    },
    "element by element": {"gelu", "add", "add_", "mul", "div", "sub", "native_layer_norm"},
    "copies": {"copy_", "cat", "index", "fill_", "constant_pad_nd", "clone"},
}


def product_rate(dtype: torch.dtype, seconds: float = 2.0) -> float:
    """FLOP/s of the best of many large products of this type."""
    a, b = torch.randn(4096, 768).to(dtype), torch.randn(3072, 768).to(dtype)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        torch.nn.functional.linear(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * 4096 * 768 * 3072 / best


def of_encode(name: str, precision: str) -> str:
    """One encode, as a paragraph and a table of shares."""
    model, image = contestants.ours(name, None, precision), contestants.picture()
    nsa.encode(model, image)
    counter = FlopCounterMode(display=False)
    with counter:
        nsa.encode(model, image)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        nsa.encode(model, image)
    spent = {e.key.removeprefix("aten::"): e.self_cpu_time_total for e in profiled.key_averages()}
    total = sum(spent.values())
    rows = []
    for group, names in GROUPS.items():
        rows.append((group, sum(spent.pop(n, 0.0) for n in names)))
    rows.append(("all else", sum(spent.values())))
    start = time.perf_counter()
    nsa.encode(model, image)
    seconds, rate = time.perf_counter() - start, product_rate(model.dtype)
    least = counter.get_total_flops() / rate
    table = "".join(f"| {group} | {time_us / total:.0%} |\n" for group, time_us in rows)
    return (
        f"{name}, {precision}: {counter.get_total_flops() / 1e9:.0f} GFLOP in {seconds:.2f} s; a "
        f"large product runs at {rate / 1e9:.0f} GFLOP/s here, at which they would take "
        f"{least:.2f} s: {least / seconds:.0%} of the roofline.\n\n"
        f"| part | share of the time |\n| --- | --- |\n{table}"
    )


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    print(of_encode("vit_b", "fp32"))
