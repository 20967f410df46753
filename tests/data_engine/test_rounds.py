"""Rounds over a folder: what is annotated, trained and kept, and how a stopped run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tests.data_engine import stand_in

from napari_segment_anything.data_engine.engine import DataEngine
from napari_segment_anything.data_engine.project import Project, ProjectError
from napari_segment_anything.data_engine.records import Effort, Stage
from napari_segment_anything.data_engine.report import report_of
from napari_segment_anything.data_engine.stages import Picture, Tools, confident_masks


class Stopped(Exception):
    pass


def stop_at(what, name):
    def watch(at):
        if (at.what, at.detail) == (what, name):
            raise Stopped

    return watch


def content(project):
    """Bytes of all label files and JSON files but for times, by path."""
    out = {}
    for path in sorted(project.folder.rglob("*.*")):
        if path.suffix == ".json":
            values = json.loads(path.read_text())
            values.pop("seconds", None)
            values.get("maker", {}).pop("machine_seconds", None)
            out[path.relative_to(project.folder)] = values
        elif path.suffix == ".tif":
            out[path.relative_to(project.folder)] = tifffile.imread(path).tolist()
    return out


def test_a_run_goes_through_the_stages(project, engine_on, training):
    engine_on(project).run(rounds=2, automatic=2)
    done = project.provenances()
    assert {n: (p.round, str(p.stage)) for n, p in done.items()} == {
        "a": (1, "assisted"),
        "b": (1, "assisted"),
        "c": (2, "semi-automatic"),
        "d": (2, "semi-automatic"),
        "e": (3, "automatic"),
        "f": (3, "automatic"),
    }
    assert training.calls == [
        {"model": "dull", "train": ["a", "b"], "val": []},
        {
            "model": project.rounds()[1].model,
            "train": ["a", "b", "c", "d"],
            "val": [],
        },
    ]
    first = Path(project.rounds()[1].model).relative_to(project.folder)
    assert first.match("models/round-1-*/best.json")
    for name, image in zip("abcd", [stand_in.THREE, stand_in.TWO] * 2, strict=True):
        # Squares are drawn in another order than they are numbered.
        labels = project.labels(name)
        assert ((labels > 0) == (image > 0)).all() and labels.max() == image.max()


def test_provenance_says_how_each_object_was_made(project, engine_on):
    engine_on(project).run(rounds=2)
    assisted = json.loads((project.folder / "annotations" / "a.json").read_text())
    assert assisted["image"] == "a" and assisted["round"] == 1 and assisted["proposed"] == 0
    maker = assisted["maker"]
    assert maker["annotator"] == "simulated" and maker["is_simulated"] is True
    assert maker["weights"] == {"model": "dull", "digest": "dull"}
    # Three clicks an object, and two looks at the other candidates of the first.
    assert assisted["effort"] == {
        "clicks": 9,
        "glances": 6,
        "rejections": 0,
        "paintings": 0,
        "seconds": 19.5,
    }
    first = assisted["objects"][0]
    assert first["origin"] == "clicked" and first["point_labels"] == [1, 1, 1]
    assert first["effort"]["clicks"] == 3 and first["predicted_iou"] == 0.7
    x, y = first["points_xy"][0]
    label = project.labels("a")[int(y), int(x)]
    assert label == first["label"] == 1

    semi = json.loads((project.folder / "annotations" / "c.json").read_text())
    # Two masks kept, one rejected, one object of two clicks and two looks added.
    assert [o["origin"] for o in semi["objects"]] == ["pre-filled", "pre-filled", "clicked"]
    assert semi["proposed"] == 3 and semi["objects"][0]["stability"] == 0.8
    assert semi["effort"] == {
        "clicks": 3,
        "glances": 5,
        "rejections": 1,
        "paintings": 0,
        "seconds": 6.25,
    }
    assert semi["maker"]["weights"] == {"model": "best", "digest": "needs 2"}
    assert semi["labels_digest"].startswith("40x60 ")


def test_report_has_the_numbers(project, engine_on):
    engine_on(project).run(rounds=2, automatic=1)
    report = report_of(project)
    first, second, last = report.rows
    assert (first.images, first.objects, first.effort.clicks) == (2, 5, 15)
    assert first.clicks_per_object == 3 and first.kept == 0
    # Five objects in 15 clicks of 2 s and 10 glances of 0.25 s.
    assert first.objects_per_minute == pytest.approx(60 * 5 / 32.5)
    assert first.quality.iou == 1 and first.quality.found == 1
    # c: two kept, one rejected, one of two clicks; d: both kept, one rejected.
    assert (second.proposed, second.kept, second.effort.clicks) == (6, 4, 4)
    assert second.clicks_per_object == 4 / 5
    assert last.stage is Stage.AUTOMATIC and last.effort == Effort()
    assert last.clicks_per_object == 0 and last.objects_per_minute is None
    assert last.quality.found == pytest.approx(2 / 3)
    held_out = report.held_out
    assert [held_out[n]["clicks"] for n in range(3)] == [3, 2, 1]
    assert [held_out[n]["click_iou"] for n in range(3)] == [0.5, 0.5, 1]
    # Two of three objects are found, with one that is none.
    assert held_out[0]["ap50"] == 0 and held_out[1]["ap50"] == 2 / 4
    assert held_out[1]["precision"] == pytest.approx(2 / 3)


def test_report_as_text_json_and_picture(project, engine_on, tmp_path):
    pytest.importorskip("matplotlib")
    engine_on(project).run(rounds=2)
    report = report_of(project)
    text = report.text()
    assert "Seconds are simulated" in text
    line = next(x for x in text.splitlines() if "assisted" in x)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[6] == "9.2" and cells[:6] == ["1", "assisted", "2", "5", "3.00", "0"]
    values = json.loads(report.to_json())
    assert values["rows"][1]["clicks_per_object"] == 0.8 and values["time_is_simulated"] is True
    assert values["held_out"][2]["clicks"] == 1
    report.plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    figure = report._figure()
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [3, 0.8]
    assert figure.axes[2].lines[0].get_ydata().tolist() == [0.5, 0.5, 1]


@pytest.mark.parametrize(
    ("what", "name"), [("annotating", "b"), ("annotating", "d"), ("training", ""), ("scoring", "")]
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    project, engine_on, training, tmp_path, what, name
):
    with pytest.raises(Stopped):
        engine_on(project, stop_at(what, name)).run(rounds=2)
    kept = {n: p.labels_digest for n, p in project.provenances().items()}
    mtimes = {n: (project.folder / f"annotations/{n}.tif").stat().st_mtime_ns for n in kept}
    engine_on(Project(project.folder)).run(rounds=2)
    for n, mtime in mtimes.items():
        assert (project.folder / f"annotations/{n}.tif").stat().st_mtime_ns == mtime
    stopped, folder = content(project), project.folder
    folder.rename(tmp_path / "stopped")
    other = Project.create(folder, "dull")
    for part in ("images", "truth", "held_out"):
        (folder / part).exists() and part == "images" and (folder / part).rmdir()
        (tmp_path / "stopped" / part).rename(folder / part)
    engine_on(other).run(rounds=2)
    whole = {k: v for k, v in content(other).items() if k.parts[0] in ("annotations", "rounds")}
    assert whole == {k: v for k, v in stopped.items() if k.parts[0] in ("annotations", "rounds")}
    assert {str(k) for k in whole} >= {"annotations/d.tif", "rounds/round-2.json"}


def test_labels_without_provenance_are_made_again(project, engine_on):
    """A process killed between the two files of an image leaves the first."""
    (project.folder / "annotations" / "a.tif").write_bytes(b"half")
    (project.folder / "annotations" / ".a.json.123").write_text("{")
    assert project.waiting() == list("abcdef")
    engine_on(project).run(rounds=1)
    assert project.labels("a").max() == 3


def test_a_killed_write_leaves_no_annotation(project, engine_on, monkeypatch):
    from napari_segment_anything.data_engine import project as module

    def killed(path, values):
        raise KeyboardInterrupt

    engine = engine_on(project)
    engine.begin()
    monkeypatch.setattr(module, "_write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        engine.annotate_round()
    assert project.provenances() == {}


def test_changed_labels_are_noticed(project, engine_on):
    engine_on(project).run(rounds=1)
    path = project.folder / "annotations" / "a.tif"
    tifffile.imwrite(path, np.zeros(stand_in.FIELD, np.int32))
    with pytest.raises(ProjectError, match=r"a\.tif as it was written, found it changed"):
        project.labels("a")
    with pytest.raises(ProjectError, match="take the changed labels in"):
        engine_on(project).run(rounds=2)


def test_a_training_that_was_stopped_is_another_one_on_other_labels(project, engine_on, training):
    folders = []

    def stopped(*images, folder, **options):
        folders.append(folder)
        raise Stopped

    with pytest.raises(Stopped):
        engine_on(project, stop_at("annotating", "b")).run(rounds=1)
    engine = engine_on(project)
    engine._train = stopped
    for name in (None, None, "b"):
        if name:
            engine.annotate(Stage.ASSISTED, [name])
        with pytest.raises(Stopped):
            engine.train()
    assert folders[0] == folders[1] != folders[2]


def test_an_object_that_clicks_do_not_reach_is_painted(project, engine_on):
    engine = engine_on(project)
    engine.annotator.most_clicks = 2
    engine.run(rounds=1)
    (row,) = report_of(project).rows
    assert row.effort.paintings == row.objects == 5 and row.quality.iou == 1
    assert {str(o.origin) for o in project.provenances()["a"].objects} == {"painted"}
    assert project.rounds()[0].scores["reached"] == 0 and project.rounds()[1].scores["reached"] == 1


def test_every_nth_image_chooses_the_checkpoint(project, engine_on, training):
    engine_on(project, images_per_round=5, validation_every=3).run(rounds=1)
    assert training.calls[0]["train"] == ["a", "b", "d", "e"] and training.calls[0]["val"] == ["c"]
    assert project.rounds()[1].images == ("a", "b", "d", "e")


def test_confident_settings_reach_the_generator():
    functions = stand_in.Functions()
    model = stand_in.Model(name="m", digest="m", sure=[1, 3], wrong=False)
    from napari_segment_anything.data_engine.settings import EngineSettings

    settings = EngineSettings(confident_iou=0.83, confident_stability=0.91)
    tools = Tools(model, settings, functions)
    found = confident_masks(tools, tools.encode(Picture("a", stand_in.THREE), lambda: None))
    assert functions.settings == {"pred_iou_thresh": 0.83, "stability_score_thresh": 0.91}
    assert (found.labels == np.where(stand_in.THREE == 3, 2, stand_in.THREE == 1)).all()
    second = found.objects[1]
    assert second.points_xy == ((42.0, 22.0),) and second.predicted_iou == 0.9


def test_people_work_through_files(project, training):
    """Pre-filled, corrected, taken in; drawn elsewhere, taken in; trained."""
    engine = DataEngine(project, train=training, load=stand_in.load, functions=stand_in.Functions())
    drawn = stand_in.THREE.astype(np.int32)
    taken = engine.take("a", drawn, seconds=30)
    assert [str(o.origin) for o in taken.objects] == ["by hand"] * 3
    with pytest.raises(ProjectError, match="allow --overwrite"):
        engine.take("a", drawn)
    assert engine.train().number == 1 and engine.round == 2

    (path,) = engine.prefill(["c"])
    labels = tifffile.imread(path)
    assert labels.max() == 3
    labels[labels == 3] = 0  # the wrong one
    labels[2, 2:14] = 0  # one corrected
    labels[stand_in.THREE == 3] = 9  # one added
    tifffile.imwrite(path, labels)
    taken = engine.take("c", labels)
    assert {o.label: str(o.origin) for o in taken.objects} == {
        1: "corrected",
        2: "pre-filled",
        9: "by hand",
    }
    record = project.provenances()["c"]
    assert record.stage is Stage.SEMI_AUTOMATIC and record.proposed == 3
    assert record.effort == Effort(None, None, 1, None, None)
    assert record.maker.annotator == "person" and record.maker.weights.digest == "needs 2"
    assert project.prefilled("c") is None and not path.exists()
    rows = report_of(project).rows
    assert rows[0].objects_per_minute == 6 and rows[0].clicks_per_object is None
    assert rows[1].objects_per_minute is None
    assert "simulated" not in report_of(project).text()


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda e: e.train(), "images annotated in round 1"),
        (lambda e: e.annotate(Stage.ASSISTED, ["a"]), "annotator for the assisted stage"),
        (lambda e: e.annotate(Stage.AUTOMATIC, ["nobody"]), "got 'nobody'"),
        (lambda e: e.take("a", np.zeros((3, 4), np.int32)), r"labels \(40, 60\) for a"),
        (lambda e: Project.create(e.project.folder, "nano"), "the model 'dull'"),
        (lambda e: Project(e.project.folder / "images"), "no project.json"),
    ],
)
def test_what_cannot_be_says_why(project, training, act, said):
    engine = DataEngine(project, train=training, load=stand_in.load, functions=stand_in.Functions())
    with pytest.raises(ValueError, match=said):
        act(engine)


def test_too_few_images(project, engine_on):
    with pytest.raises(ProjectError, match="without labels for round 4"):
        engine_on(project).run(rounds=4)
