"""Whole runs of small models: what they change, where they stop, and that they go on exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.training.runs import CONFIGS, labelled, quick, random_file

from napari_segment_anything import encode, load_model, predict
from napari_segment_anything.modeling.sizes import build_sam
from napari_segment_anything.training.fit import FitSettings, fit
from napari_segment_anything.training.learner import Learner, Relay
from napari_segment_anything.training.validation import Score, Validator
from napari_segment_anything.zoo.checkpoint import read_checkpoint
from napari_segment_anything.zoo.export import export_weights

WAYS = [("conv", "decoder"), ("vit", "lora"), ("vit", "all")]
MORE_WAYS = [*WAYS, ("vit", "decoder"), ("conv", "all"), ("tiny_vit", "lora")]


class Stop(Exception):
    pass


def stopping_at(step):
    def progress(state):
        if state.step == step:
            raise Stop

    return progress


def weights(path):
    return read_checkpoint(path).state_dict


def changed(before, after):
    """Names of the tensors that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: random_file(folder, kind) for kind in CONFIGS}


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory):
    """Whole runs of each kind, once."""
    done = {}

    def run(kind, what):
        if (kind, what) not in done:
            folder = tmp_path_factory.mktemp(f"{kind}_{what}")
            settings = quick(what=what, drop_path=0.3, cached_crops=None)
            done[kind, what] = fit(files[kind], labelled(), folder=folder, settings=settings)
        return done[kind, what]

    return run


@pytest.mark.parametrize(("kind", "what"), MORE_WAYS)
def test_only_what_is_asked_for_changes(runs, files, kind, what):
    before, after = weights(files[kind]), weights(runs(kind, what).last)
    assert list(after) == list(before)
    moved = changed(before, after)
    encoder = {name for name in before if name.startswith("image_encoder.")}
    head = {name for name in encoder if "dense_head" in name}
    if what == "decoder":
        assert moved & encoder <= head and (bool(moved & head) == (kind == "conv"))
    elif what == "lora":
        adapted = {n for n in encoder if n.endswith((".qkv.weight", ".proj.weight"))}
        adapted -= {"image_encoder.patch_embed.proj.weight"}
        assert moved & encoder == adapted
    else:
        statistics = {n for n in encoder if "running_" in n or "num_batches" in n}
        parameters = {n for n in encoder if before[n].is_floating_point()} - statistics
        assert not moved & statistics and len(moved & parameters) > 0.9 * len(parameters)
    assert {"mask_decoder.iou_token.weight", "prompt_encoder.not_a_point_embed.weight"} <= moved


@pytest.mark.parametrize(("kind", "what"), WAYS)
def test_both_checkpoints_load_and_answer(runs, kind, what):
    image = labelled(1)[0].pixels
    for path in (runs(kind, what).best, runs(kind, what).last):
        model = load_model(path, "cpu", "fp32")
        answer = predict(model, encode(model, image), [[14, 12]], [1])
        assert answer.masks.shape == (3, 48, 64) and np.isfinite(answer.logits).all()
        assert model.card.automask == {"points_per_side": 7}
        assert model.card.least_foreground == 0.2


def test_numbers_of_a_run(runs):
    result = runs("conv", "decoder")
    assert [line["step"] for line in result.history] == list(range(7))
    scored = [line["step"] for line in result.history if "score" in line]
    assert scored == [0, 2, 4, 6]
    for line in result.history:
        if "score" in line:
            assert line["score"] == pytest.approx((line["click"] + line["box"]) / 2)
    folder = result.best.parent
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.history
    samples = sorted(p.name for p in (folder / "samples").iterdir())
    assert samples == [f"step-{n:06d}.png" for n in scored]


def test_the_card_says_what_was_done(runs, files):
    card = json.loads(read_checkpoint(runs("vit", "lora").last).metadata["card"])
    assert card["description"] == "random_vit, trained on 2 images for 6 steps"
    assert card["name"] == runs("vit", "lora").last.parent.name
    assert card["base_model"]["digest"] == read_checkpoint(files["vit"]).digest
    assert card["settings"]["what"] == "lora" and card["settings"]["mask_loss"] == "focal"
    assert card["data"]["train images"] == 2 and card["data"]["validation images"] == 0
    assert card["scores"]["start"]["step"] == 0 and card["scores"]["now"]["step"] == 6


@pytest.mark.parametrize(("kind", "what"), WAYS)
def test_a_stopped_run_goes_on_exactly(runs, files, tmp_path, kind, what):
    whole = runs(kind, what)
    settings = quick(what=what, drop_path=0.3, cached_crops=None)
    with pytest.raises(Stop):
        fit(
            files[kind],
            labelled(),
            folder=tmp_path,
            settings=settings,
            progress=stopping_at(3),  # between two validations
        )
    torch.manual_seed(99)
    again = fit(files[kind], labelled(), folder=tmp_path, settings=settings)
    assert without_times(again.history) == without_times(whole.history)
    assert not changed(weights(whole.last), weights(again.last))
    assert not changed(weights(whole.best), weights(again.best))


def test_a_killed_run_goes_on_from_its_last_state(runs, files, tmp_path, monkeypatch):
    whole = runs("vit", "lora")
    settings = quick(what="lora", drop_path=0.3, cached_crops=None)
    update = Learner._update

    def killed(learner, batches):
        if learner.step == 5:
            raise SystemExit
        return update(learner, batches)

    monkeypatch.setattr(Learner, "_update", killed)
    with pytest.raises(SystemExit):
        fit(files["vit"], labelled(), folder=tmp_path, settings=settings)
    with (tmp_path / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 6, "lo')
    monkeypatch.undo()
    again = fit(files["vit"], labelled(), folder=tmp_path, settings=settings)
    assert without_times(again.history) == without_times(whole.history)
    assert not changed(weights(whole.last), weights(again.last))


def without_times(history):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in history]


def test_a_finished_run_is_not_repeated(runs, files):
    whole = runs("conv", "decoder")
    seen = []
    settings = quick(what="decoder", drop_path=0.3, cached_crops=None)
    again = fit(
        files["conv"],
        labelled(),
        folder=whole.best.parent,
        settings=settings,
        progress=seen.append,
    )
    assert not seen and again.history == whole.history


def test_another_run_is_refused(runs, files):
    folder = runs("conv", "decoder").best.parent
    settings = quick(what="decoder", drop_path=0.3, cached_crops=None)
    with pytest.raises(ValueError, match=r"learning_rate was 0\.01, is 0\.02"):
        other = quick(what="decoder", drop_path=0.3, cached_crops=None, learning_rate=0.02)
        fit(files["conv"], labelled(), folder=folder, settings=other)
    with pytest.raises(ValueError, match="train data was"):
        fit(files["conv"], labelled(seed=5), folder=folder, settings=settings)
    with pytest.raises(ValueError, match="base digest was"):
        fit(files["tiny_vit"], labelled(), folder=folder, settings=settings)


def test_a_run_without_its_settings_is_refused(files, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"without run\.json"):
        fit(files["vit"], labelled(), folder=tmp_path, settings=quick())
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"Expected a run's .*run\.json"):
        fit(files["vit"], labelled(), folder=tmp_path, settings=quick())


def scores(monkeypatch, values):
    """Have validations give these values, one after the other."""
    waiting = iter(values)

    def score(validator, model):
        value = next(waiting)
        return Score(value, value), np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(Validator, "score", score)


def test_the_best_checkpoint_is_the_one_with_the_best_score(files, tmp_path, monkeypatch):
    scores(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    result = fit(files["conv"], labelled(), folder=tmp_path, settings=quick())
    card = json.loads(read_checkpoint(result.best).metadata["card"])
    assert card["step"] == 2 and card["scores"]["now"]["score"] == 0.7
    assert changed(weights(result.best), weights(result.last))


def test_a_run_that_gets_no_better_stops_early_and_keeps_the_start(files, tmp_path, monkeypatch):
    scores(monkeypatch, [0.5, 0.4, 0.5, 0.9])
    settings = quick(patience=2)
    result = fit(files["conv"], labelled(), folder=tmp_path, settings=settings)
    assert result.history[-1]["step"] == 4
    assert not changed(weights(files["conv"]), weights(result.best))
    assert (
        fit(files["conv"], labelled(), folder=tmp_path, settings=settings).history[-1]
        == (result.history[-1])
    )


def test_progress_is_told(files, tmp_path):
    told = []
    fit(
        files["conv"],
        labelled(),
        labelled(1, seed=9),
        folder=tmp_path,
        settings=quick(steps=2),
        progress=told.append,
    )
    assert [(p.step, p.steps, p.score is not None) for p in told] == [
        (0, 2, True),
        (1, 2, False),
        (2, 2, True),
    ]
    assert told[0].sample.shape == (48, 64, 3) and told[0].sample.dtype == np.uint8
    assert told[1].sample is None and told[1].losses["loss"] > 0
    assert {"dense", "point 0", "rate"} <= told[1].losses.keys()


def test_a_loaded_model_is_trained_from_its_file_and_not_changed(files, tmp_path):
    model = load_model(files["vit"], "cpu", "bf16")
    before = {name: value.clone() for name, value in model.sam.state_dict().items()}
    result = fit(model, labelled(), folder=tmp_path, settings=quick(steps=2))
    assert not changed(before, model.sam.state_dict())
    encoder = {n for n in weights(files["vit"]) if n.startswith("image_encoder.")}
    assert not changed(weights(files["vit"]), weights(result.last)) & encoder


def test_what_cannot_be_trained_says_why(files, tmp_path):
    settings = quick(what="lora")
    with pytest.raises(ValueError, match="ConvEncoder, which has none"):
        fit(files["conv"], labelled(), folder=tmp_path, settings=settings)
    empty = labelled(1)[0].__class__("empty", np.zeros((9, 9)), np.zeros((9, 9), np.int32))
    with pytest.raises(ValueError, match="got 1 without any"):
        fit(files["vit"], [empty], folder=tmp_path, settings=quick())
    with pytest.raises(ValueError, match="validation images with labelled objects"):
        fit(files["vit"], labelled(), [empty], folder=tmp_path, settings=quick())
    with pytest.raises(ValueError, match="fp16; that needs CUDA"):
        fit(files["vit"], labelled(), folder=tmp_path, settings=quick(precision="fp16"))
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_says_so(files, tmp_path, monkeypatch):
    pass_back = Learner._pass_back

    def poisoned(learner, *arguments):
        loss = pass_back(learner, *arguments)
        return float("nan") if learner.step == 3 else loss

    monkeypatch.setattr(Learner, "_pass_back", poisoned)
    with pytest.raises(RuntimeError, match="finite loss at step 4, got nan"):
        fit(files["conv"], labelled(), folder=tmp_path, settings=quick())
    assert not [f for f in weights(tmp_path / "last.safetensors").values() if f.isnan().any()]


def test_nano_s_kind_is_not_exported(runs, tmp_path):
    result = runs("conv", "decoder")
    assert result.exported is None and not (result.best.parent / "model.pth").exists()
    with pytest.raises(ValueError, match="this package alone reads it"):
        export_weights(tmp_path / "model.pth", build_sam(CONFIGS["conv"]))
    assert runs("vit", "lora").exported.is_file()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "Expected steps as a whole number from 1"),
        ({"steps": 2.5}, "Expected steps as a whole number"),
        ({"learning_rate": 3}, "Expected learning_rate as a number from 1e-08 to 1.0, got 3"),
        ({"what": "encoder"}, "Expected what out of decoder, lora, all, got 'encoder'"),
        ({"recompute": 1}, "Expected recompute as a bool, got 1"),
        ({"corrections": 9}, "Expected corrections as a whole number from 0 to 8"),
    ],
)
def test_settings_are_checked(changes, said):
    with pytest.raises(ValueError, match=said):
        FitSettings(**changes)


def test_settings_are_settled_by_model_and_device():
    laptop = FitSettings(steps=50).settled(is_square=False, on_gpu=False)
    assert (laptop.corrections, laptop.still_rounds, laptop.cached_crops) == (1, 0, 64)
    assert laptop.mask_loss == "balanced" and laptop.warmup_steps == 5
    gpu = FitSettings(steps=90_000, what="lora").settled(is_square=True, on_gpu=True)
    assert (gpu.corrections, gpu.still_rounds, gpu.cached_crops) == (8, 2, 0)
    assert gpu.mask_loss == "focal" and gpu.warmup_steps == 250
    assert FitSettings(corrections=3).settled(is_square=True, on_gpu=True).corrections == 3


def test_the_saved_weights_are_the_mean_of_those_of_the_steps(files, tmp_path):
    ends = {}
    for average in (0.0, 0.5):
        folder = tmp_path / str(average)
        settings = quick(average=average, steps=2, validate_every=1)
        fit(files["vit"], labelled(), folder=folder, settings=settings)
        state = torch.load(folder / "state.pt", weights_only=True)["learner"]
        ends[average] = weights(folder / "last.safetensors"), state["weights"]
    name = "mask_decoder.iou_token.weight"
    assert torch.equal(ends[0.0][0][name], ends[0.0][1][name])
    assert torch.equal(ends[0.5][1][name], ends[0.0][1][name])  # averaging changes no step
    one = quick(average=0.0, steps=2, validate_every=1)
    with pytest.raises(Stop):
        at_one = stopping_at(1)
        fit(files["vit"], labelled(), folder=tmp_path / "1", settings=one, progress=at_one)
    start, first = weights(files["vit"])[name], weights(tmp_path / "1" / "last.safetensors")[name]
    mean = start  # kept at first: 1 / 10, then 2 / 11
    for kept, newest in ((1 / 10, first), (2 / 11, ends[0.0][0][name])):
        mean = kept * mean + (1 - kept) * newest
    torch.testing.assert_close(ends[0.5][0][name], mean)


def test_losses_that_go_back_one_by_one_give_the_gradient_of_their_sum():
    torch.manual_seed(0)
    x = torch.randn(3, 4, requires_grad=True)
    source = (x @ torch.randn(4, 4)).relu()
    losses = [lambda y: y.square().sum(), lambda y: (y[1:] * 3).exp().mean()]
    sum(loss(source) for loss in losses).backward(retain_graph=True)
    wanted, x.grad = x.grad, None
    relay = Relay(source)
    for loss in losses:
        loss(relay.cut).backward()
    assert x.grad is None
    relay.flush()
    torch.testing.assert_close(x.grad, wanted)
    idle = Relay(torch.zeros(2))
    assert not idle.cut.requires_grad
    idle.flush()
