from __future__ import annotations

import re

import pytest

from napari_segment_anything.sam import sam_model_registry
from napari_segment_anything.zoo import registry

FETCHED = [e for e in registry.entries() if e.kind != "builtin"]
ids = pytest.mark.parametrize("one", FETCHED, ids=lambda e: e.name)


def test_nano_comes_first_and_is_called_what_it_is():
    first = registry.entries()[0]
    assert (first.name, first.kind, first.url) == ("nano", "builtin", None)
    assert "small built-in model for cells and similar objects" in first.title


def test_names_are_different():
    names = [e.name for e in registry.entries()]
    assert len(set(names)) == len(names)
    assert {"vit_b", "vit_l", "vit_h", "vit_b_lm", "vit_b_em_organelles"} < set(names)


@ids
def test_downloads_are_encrypted_and_can_be_verified(one):
    assert one.url.startswith("https://")
    assert one.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", one.sha256)
    assert re.fullmatch(r"[0-9a-f]{32}", one.xxh128)
    assert one.verification == ("sha256" if one.sha256 else "checksum only (xxh128)")


def test_urls_and_hashes_belong_to_one_model_each():
    for field in ("url", "xxh128", "sha256"):
        values = [v for e in FETCHED if (v := getattr(e, field))]
        assert len(set(values)) == len(values), field


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_official_files_are_proved_by_sha256(name):
    one = registry.entry(name)
    assert one.verification == "sha256" and one.licence == "Apache-2.0"
    assert f"sam_{name}_" in one.url


@ids
def test_names_tell_the_architecture(one):
    assert one.name.startswith(one.architecture)
    assert one.architecture in sam_model_registry


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match=r"vit_b_lm.*'vit_z'"):
        registry.entry("vit_z")
