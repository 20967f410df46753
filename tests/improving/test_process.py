"""A real process beside this one: its reports, its end, and what is left of it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time

import pytest
from tests.improving.test_split import squares

from napari_segment_anything.improving import child
from napari_segment_anything.improving.job import Job
from napari_segment_anything.improving.process import PROGRAM, TrainingProcess

TALKS = """
import sys, pathlib
folder = pathlib.Path(sys.argv[1])
assert (folder / "job.json").is_file()
news = (folder / "news.jsonl").open("a", buffering=1)
news.write('{"kind": "split"}\\n{"kind": ')
print("ready", flush=True)
assert sys.stdin.readline() == "stop\\n"
news.write('"result"}\\n')
"""
FAILS = "print('first'); raise SystemExit('no reason')"
JOB = Job("nano", ((squares(10),),))


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)


def started(tmp_path, code):
    return TrainingProcess(JOB, tmp_path, ("-c", code))


def test_reports_come_in_whole_lines_and_a_stop_arrives(tmp_path):
    run = started(tmp_path, TALKS)
    said = []
    until(lambda: said.extend(run.reports()) or said)
    assert said == [{"kind": "split"}] and run.is_running() and not run.reports()
    run.stop()
    until(lambda: not run.is_running())
    assert run.reports() == [{"kind": "result"}]
    run.stop()  # nobody is there any more
    run.end()
    run.end()
    assert not list(tmp_path.iterdir())


def test_ending_kills_and_cleans_up(tmp_path):
    run = started(tmp_path, TALKS)
    until(run.reports)
    process = run._process
    run.end()
    assert process.returncode not in (None, 0) and process.stdin.closed
    assert not list(tmp_path.iterdir())


def test_a_run_that_nobody_holds_is_ended(tmp_path):
    run = started(tmp_path, TALKS)
    process = run._process
    del run
    gc.collect()
    assert process.returncode is not None and not list(tmp_path.iterdir())


def test_the_log_tells_how_it_ended(tmp_path):
    run = started(tmp_path, FAILS)
    until(lambda: not run.is_running())
    assert run.log() == "first\nno reason\nexit status 1"
    run.end()


def test_what_killed_trainings_left_is_removed_after_a_day(tmp_path):
    for name, age_s in ((".run-old", 90_000), (".run-new", 10)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "news.jsonl").write_text("{}")
        os.utime(tmp_path / name / "news.jsonl", (time.time() - age_s,) * 2)
    run = started(tmp_path, FAILS)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".run-new", run.folder.name}
    run.end()


def test_no_process_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(OSError):
        started(tmp_path, TALKS)
    assert not list(tmp_path.iterdir())


def test_the_child_goes_when_nobody_listens(tmp_path):
    """As when napari is killed: its end of the pipe closes."""
    JOB.write(tmp_path)
    (tmp_path / "folder").mkdir()
    code = f"import threading; from {child.__name__} import _listen; from pathlib import Path; "
    code += f"_listen(Path({str(tmp_path / 'folder')!r}), threading.Event())"
    run = subprocess.run(
        [sys.executable, *PROGRAM[:1], "-c", code], stdin=subprocess.DEVNULL, timeout=60
    )
    assert run.returncode == 1 and not (tmp_path / "folder").exists()
