"""The models there are: names, where they come from, what they are good for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_BIOIMAGE = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/"
_OWNCLOUD = "https://owncloud.gwdg.de/index.php/s/"
_DECODER_MB = 40


@dataclass(frozen=True)
class ModelEntry:
    """One model. ``sha256`` proves a download; ``xxh128`` alone only finds damage.

    ``size_mb`` is approximate. ``decoder`` is the file of the model's decoder for automatic
    segmentation, which comes along with it and is no model of its own.
    """

    name: str
    title: str
    kind: Literal["builtin", "official", "micro-sam"]
    architecture: str
    licence: str
    url: str | None = None
    size_mb: int | None = None
    sha256: str | None = None
    xxh128: str | None = None
    decoder: ModelEntry | None = None

    @property
    def download_mb(self) -> int:
        """Size of all its files, approximately."""
        return (self.size_mb or 0) + (0 if self.decoder is None else self.decoder.download_mb)

    @property
    def verification(self) -> str:
        """How a downloaded file is verified, in words."""
        if self.sha256:
            return "sha256"
        return "checksum only (xxh128)" if self.xxh128 else "not verified"


def _official(name: str, file: str, mb: int, sha256: str, xxh128: str) -> ModelEntry:
    title = f"Segment Anything {name}: natural images, a good start for everything"
    return ModelEntry(name, title, "official", name, "Apache-2.0", _META + file, mb, sha256, xxh128)


def _micro_sam(
    name: str,
    where: str,
    xxh128: str,
    sha256: str | None = None,
    *,
    decoder_where: str | None = None,
    decoder_xxh128: str | None = None,
) -> ModelEntry:
    """``where`` is the id of a shared file, or a path in the archive of bioimage.io, in which a
    model's decoder lies beside it.
    """
    architecture, _, domain = name[:5], name[5:6], name[6:]
    purpose = {
        "lm": "light microscopy: cells and nuclei",
        "em_organelles": "electron microscopy: mitochondria, nuclei",
        "histopathology": "histopathology: nuclei in stained tissue",
        "medical_imaging": "medical images",
        "": "MobileSAM: small and quick",
    }[domain]
    size = {"vit_t": 40, "vit_b": 375, "vit_l": 1250, "vit_h": 2560}[architecture]
    title = f"micro-sam {name}: {purpose}" if domain else f"{name}: {purpose}"
    licence = "see the model's page"
    whole = ModelEntry(
        name, title, "micro-sam", architecture, licence, _url(where), size, sha256, xxh128
    )
    if decoder_xxh128 is None:
        return whole
    decoder_url = _url(decoder_where or where.replace(".pt", "_decoder.pt"))
    decoder = ModelEntry(
        f"{name}_decoder",
        f"decoder of {name} for automatic segmentation",
        "micro-sam",
        "unetr",
        licence,
        decoder_url,
        _DECODER_MB,
        xxh128=decoder_xxh128,
    )
    return replace(whole, decoder=decoder)


def _url(where: str) -> str:
    return _BIOIMAGE + where if where.endswith(".pt") else f"{_OWNCLOUD}{where}/download"


_ENTRIES = (
    ModelEntry(
        "nano",
        "nano: a small built-in model for cells and similar objects; no download",
        "builtin",
        "nano",
        "BSD-3-Clause",
        size_mb=8,
    ),
    _official(
        "vit_b",
        "sam_vit_b_01ec64.pth",
        375,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "6923c33df3637b6a922d7682bfc9a86b",
    ),
    _official(
        "vit_l",
        "sam_vit_l_0b3195.pth",
        1250,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        "a82beb3c660661e3dd38d999cc860e9a",
    ),
    _official(
        "vit_h",
        "sam_vit_h_4b8939.pth",
        2560,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        "97698fac30bd929c2e6d8d8cc15933c2",
    ),
    _micro_sam(
        "vit_b_lm",
        "diplomatic-bug/1.2/files/vit_b.pt",
        "fe9252a29f3f4ea53c15a06de471e186",
        decoder_xxh128="708b15ac620e235f90bb38612c4929ba",
    ),
    _micro_sam(
        "vit_l_lm",
        "idealistic-rat/1.2/files/vit_l.pt",
        "017f20677997d628426dec80a8018f9d",
        decoder_xxh128="2faeafa03819dfe03e7c46a44aaac64a",
    ),
    _micro_sam(
        "vit_b_em_organelles",
        "noisy-ox/1.2/files/vit_b.pt",
        "f3bf2ed83d691456bae2c3f9a05fb438",
        decoder_xxh128="bb6398956a6b0132c26b631c14f95ce2",
    ),
    _micro_sam(
        "vit_l_em_organelles",
        "humorous-crab/1.2/files/vit_l.pt",
        "810b084b6e51acdbf760a993d8619f2d",
        decoder_xxh128="334877640bfdaaabce533e3252a17294",
    ),
    _micro_sam(
        "vit_b_histopathology",
        "sBB4H8CTmIoBZsQ",
        "ffd1a2cd84570458b257bd95fdd8f974",
        decoder_where="KO9AWqynI7SFOBj",
        decoder_xxh128="6a66194dcb6e36199cbee2214ecf7213",
    ),
    _micro_sam(
        "vit_l_histopathology",
        "IZgnn1cpBq2PHod",
        "b591833c89754271023e901281dee3f2",
        decoder_where="oIs6VSmkOp7XrKF",
        decoder_xxh128="46aab7765d4400e039772d5a50b55c04",
    ),
    _micro_sam(
        "vit_h_histopathology",
        "L7AcvVz7DoWJ2RZ",
        "bd1856dafc156a43fb3aa705f1a6e92e",
        decoder_where="1qAKxy5H0jgwZvM",
        decoder_xxh128="3ed9f87e46ad5e16935bd8d722c8dc47",
    ),
    _micro_sam(
        "vit_b_medical_imaging",
        "f5Ol4FrjPQWfjUF",
        "40169f1e3c03a4b67bff58249c176d92",
        decoder_where="ahd3ZhZl2e0RIwz",
        decoder_xxh128="9e498b12f526f119b96c88be76e3b2ed",
    ),
    _micro_sam(
        "vit_t",
        "TuDzuwVDHd1ZDnQ",
        "8eadbc88aeb9d8c7e0b4b60c3db48bd0",
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
    _micro_sam(
        "vit_t_lm",
        "faithful-chicken/1.1/files/vit_t.pt",
        "72ec5074774761a6e5c05a08942f981e",
        decoder_xxh128="3e914a5f397b0312cdd36813031f8823",
    ),
    _micro_sam(
        "vit_t_em_organelles",
        "greedy-whale/1/files/vit_t.pt",
        "253474720c497cce605e57c9b1d18fd9",
        decoder_xxh128="8f897c7bb93174a4d1638827c4dd6f44",
    ),
)


def entries() -> tuple[ModelEntry, ...]:
    """All models, the built-in one first."""
    return _ENTRIES


def names() -> tuple[str, ...]:
    """Names of all models."""
    return tuple(one.name for one in _ENTRIES)


def entry(name: str) -> ModelEntry:
    """The model called ``name``.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    for one in _ENTRIES:
        if one.name == name:
            return one
    raise ValueError(
        f"Expected a model out of {', '.join(names())}, or a checkpoint's path; got {name!r}."
    )
