"""Memory that runs out: on the GPU work goes on on the CPU, on the CPU the person is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.core.stage import Canvas, click, drain, view
from tests.fakes import FakeFunctions, fake_model

from napari_segment_anything.config import ModelChoice
from napari_segment_anything.core.dispatch import InlineDispatcher
from napari_segment_anything.core.engine import Engine
from napari_segment_anything.core.session import Session
from napari_segment_anything.inference.out_of_memory import OutOfMemory, is_out_of_memory

RAMP = np.arange(2000, dtype=np.uint16).reshape(40, 50)
GPU = ModelChoice("fake", device="cuda")
TOLD = "The GPU ran out of memory: going on on the CPU."


class SmallGpu(FakeFunctions):
    """``full`` names the functions for which a device's memory does not suffice."""

    def __init__(self) -> None:
        super().__init__()
        self.full: set[tuple[str, str]] = set()
        self.loads: list[tuple[str, str, str]] = []

    def _fit(self, what: str, device: str) -> None:
        if (what, device) in self.full:
            if device == "cpu":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    def load_model(self, name, device="auto", precision="auto", *, progress=None):
        self.loads.append((name, device, precision))
        self._fit("load", "cpu" if device == "auto" else device)
        return super().load_model(name, device, precision, progress=progress)

    def encode(self, model, image, **options):
        self._fit("encode", model.device.type)
        return super().encode(model, image, **options)

    def predict(self, model, *prompt):
        self._fit("predict", model.device.type)
        return super().predict(model, *prompt)

    def auto_mask(self, model, image, **options):
        self._fit("auto_mask", model.device.type)
        return super().auto_mask(model, image, **options)


@pytest.fixture
def small():
    functions, canvas, dispatcher = SmallGpu(), Canvas(), InlineDispatcher()
    session = Session(Engine(functions), dispatcher, canvas)
    return session, functions, canvas, lambda: drain(session, dispatcher)


@pytest.mark.parametrize("where", ["load", "encode", "predict"])
def test_a_prompt_is_answered_on_the_cpu(small, where):
    session, functions, canvas, work = small
    functions.full = {(where, "cuda")}
    for x in (10, 30):
        session.set_prompt(view(RAMP, model=GPU), click((x, 15)))
        session.commit()
    work()
    assert canvas.labels[15, 10] == 1 and canvas.labels[15, 30] == 2
    assert canvas.told == [TOLD] and canvas.errors == []
    assert session.engine.at_hand.model.device.type == "cpu"
    assert functions.loads[-1] == ("fake", "cpu", "auto")


def test_segmenting_everything_goes_on_on_the_cpu(small):
    session, functions, canvas, work = small
    functions.full = {("auto_mask", "cuda")}
    session.auto_mask(view(RAMP, model=GPU), {}, overwrite=False)
    work()
    assert np.unique(canvas.labels).tolist() == [0, 1, 2] and canvas.told == [TOLD]


def test_what_fits_without_older_embeddings_stays_on_the_gpu(small):
    session, functions, canvas, work = small
    session.set_prompt(view(RAMP, model=GPU), click((10, 15)))
    work()
    functions.fail_next = torch.OutOfMemoryError("CUDA out of memory")
    session.set_prompt(view(RAMP, model=GPU), click((30, 15)))
    work()
    assert session.current.mask[15, 30] and canvas.told == [] and canvas.errors == []
    assert session.engine.at_hand.model.device.type == "cuda"


def test_another_model_and_a_rest_try_the_gpu_again(small):
    session, functions, canvas, work = small
    functions.full = {("encode", "cuda")}
    session.set_prompt(view(RAMP, model=GPU), click((10, 15)))
    work()
    functions.full.clear()
    session.set_prompt(view(RAMP, model=GPU), click((12, 15)))
    work()
    assert session.engine.at_hand.model.device.type == "cpu"
    session.rest()
    work()
    session.set_prompt(view(RAMP, model=GPU), click((14, 15)))
    work()
    assert session.engine.at_hand.model.device.type == "cuda" and canvas.told == [TOLD]


def test_a_model_handed_in_moves_too(small):
    session, functions, canvas, work = small
    functions.full = {("encode", "cuda")}
    name = session.engine.at_hand.offer(fake_model("mine", "cuda"))
    session.set_prompt(view(RAMP, model=name), click((10, 15)))
    work()
    assert session.current.mask[15, 10] and canvas.told == [TOLD] and functions.loads == []


@pytest.mark.parametrize("where", ["load", "encode", "predict"])
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_where_the_computer_has_too_little_the_person_is_told(small, where, device):
    session, functions, canvas, work = small
    functions.full = {(where, "cpu"), (where, "cuda")}
    choice = ModelChoice("fake", device=device)
    session.set_prompt(view(RAMP, model=choice), click((10, 15)))
    work()
    (error,) = canvas.errors
    assert isinstance(error, OutOfMemory) and canvas.told == []
    assert "'fake' on 40 x 50 pixels" in str(error) and "smaller image or model" in str(error)
    assert session.engine.at_hand.is_empty and session.current.prompt is not None
    functions.full.clear()
    session.set_prompt(view(RAMP, model=choice), click((10, 15)))  # the prompts are still there
    work()
    assert session.current.mask[15, 10] and len(canvas.errors) == 1


@pytest.mark.parametrize(
    ("error", "says_so"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (np._core._exceptions._ArrayMemoryError((10**6,), np.dtype(float)), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
        (OutOfMemory("Expected enough memory"), False),
    ],
)
def test_which_errors_say_so(error, says_so):
    assert is_out_of_memory(error) is says_so


def test_a_real_request_of_too_much_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
