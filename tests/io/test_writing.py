from __future__ import annotations

import pytest

from napari_segment_anything.io.writing import whole_file


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_stops_the_writing_leaves_the_old_file_and_nothing_else(tmp_path, stop):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(stop), whole_file(target) as partial:
        partial.write_text("half of")
        assert target.read_text() == "old"
        raise stop
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and target.read_text() == "old"


def test_a_whole_file_takes_the_place_of_the_old_one(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with whole_file(target) as partial:
        partial.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and target.read_text() == "new"
