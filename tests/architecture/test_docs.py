"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "napari_segment_anything"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_relative_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    here = [t for t in targets if "://" not in t]
    assert not [t for t in here if not (document.parent / t).exists()]


def test_the_architecture_names_files_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    paths = re.findall(r"`(\w+/\w+\.py)(?:::(\w+))?`", text)
    assert len(paths) > 20
    for path, name in paths:
        source = PACKAGE / path
        assert source.is_file(), path
        assert not name or re.search(rf"\b(def|class) {name}\b", source.read_text()), name
