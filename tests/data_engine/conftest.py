from __future__ import annotations

import pytest
from tests.data_engine import stand_in

from napari_segment_anything.data_engine.annotator import SimulatedAnnotator
from napari_segment_anything.data_engine.engine import DataEngine
from napari_segment_anything.data_engine.project import Project
from napari_segment_anything.data_engine.settings import EngineSettings, Pace
from napari_segment_anything.io.labelled import LabelledImage


@pytest.fixture
def project(tmp_path):
    """Six images, a..f, with three and two objects in turn, and one held out with three."""
    project = Project.create(tmp_path / "project", "dull")
    for i, name in enumerate("abcdef"):
        image = stand_in.TWO if i % 2 else stand_in.THREE
        project.add_simulated(LabelledImage(name, image, image.astype("int32")))
    project.add_held_out(LabelledImage("h", stand_in.THREE, stand_in.THREE.astype("int32")))
    return project


@pytest.fixture
def training():
    return stand_in.Training()


@pytest.fixture
def engine_on(training):
    """An engine on a project, with a simulated person; as often as a run is begun anew."""

    def make(project, progress=None, **settings):
        person = SimulatedAnnotator(project.truth(), pace=Pace(2, 0.25, 1))
        chosen = EngineSettings(**{"images_per_round": 2, **settings})
        return DataEngine(
            project,
            person,
            chosen,
            train=training,
            load=stand_in.load,
            functions=stand_in.Functions(),
            progress=progress,
        )

    return make
