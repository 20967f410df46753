from __future__ import annotations

import hashlib
import http.server
import threading
from dataclasses import replace

import pooch
import pytest
import xxhash

from napari_segment_anything.zoo import download
from napari_segment_anything.zoo.registry import ModelEntry

CONTENT = bytes(range(256)) * 20_000  # 5 MB, several blocks


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """No cache of this machine is read or written."""
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "own"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "micro_sam"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            sent = CONTENT[: len(CONTENT) // 2] if "cut" in self.path else CONTENT
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def entry(url: str, **changes) -> ModelEntry:
    digest = hashlib.sha256(CONTENT).hexdigest()
    basic = ModelEntry("test", "t", "official", "vit_b", "MIT", url + "/a.pth", 5, sha256=digest)
    return replace(basic, **changes)


def files(folder):
    return [p for p in folder.rglob("*") if p.is_file()]


def test_fetch_verifies_and_keeps(server, caches):
    told = []
    path = download.fetch(entry(server), lambda done, total: told.append((done, total)))
    assert path.read_bytes() == CONTENT and files(caches) == [path]
    assert told[-1][0] == len(CONTENT) and [d for d, _ in told] == sorted(d for d, _ in told)
    assert download.find_local(entry(server)) == path


def test_xxh128_is_a_checksum_only(server):
    checked = entry(server, sha256=None, xxh128=xxhash.xxh128(CONTENT).hexdigest())
    assert download.fetch(checked).read_bytes() == CONTENT
    assert "checksum only" in checked.verification


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"sha256": None, "xxh128": "0" * 32}])
def test_wrong_hash_keeps_nothing(server, caches, change):
    with pytest.raises(download.DownloadError, match=r"0000.*found"):
        download.fetch(entry(server, **change))
    assert not files(caches)


def test_without_a_known_hash_nothing_is_trusted(server, caches):
    with pytest.raises(download.DownloadError, match="known hash"):
        download.fetch(entry(server, sha256=None))
    assert not files(caches)


@pytest.mark.parametrize("name", ["cut.pth", "missing.pth"])
def test_broken_transfers(server, caches, name):
    with pytest.raises(download.DownloadError, match="nano"):
        download.fetch(replace(entry(server), url=f"{server}/{name}"))
    assert not files(caches)


def test_offline_says_what_to_do(caches):
    with pytest.raises(download.DownloadError, match="offline with 'nano'") as error:
        download.fetch(entry("http://127.0.0.1:9"))
    assert str(download.cached_path(entry(""))) in str(error.value)


def test_cancel_leaves_nothing(server, caches):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(entry(server), stop)
    assert not files(caches)


def test_files_of_other_tools_are_believed_by_hash(caches):
    known = entry("http://127.0.0.1:9")
    theirs = caches / "micro_sam" / "models" / "test"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"something else")
    assert download.find_local(known) is None and download.is_present(known)
    theirs.write_bytes(CONTENT)
    assert download.find_local(known) == theirs
    napari_sam = caches / "home" / ".cache" / "napari-segment-anything" / "a.pth"
    napari_sam.parent.mkdir(parents=True)
    theirs.replace(napari_sam)
    assert download.find_local(known) == napari_sam


def test_a_damaged_file_in_our_cache_is_fetched_again(server, caches):
    known = entry(server)
    path = download.fetch(known)
    path.write_bytes(CONTENT[:-1])
    assert download.find_local(known) is None
    assert download.fetch(known) == path and download.find_local(known) == path
    assert path.read_bytes() == CONTENT


def test_fetch_tells_the_terminal_nothing(server, caplog):
    """pooch's log goes to the terminal; progress is shown by whoever asked for the file."""
    logger = pooch.get_logger()  # in no hierarchy: caplog sees it only when attached
    logger.addHandler(caplog.handler)
    try:
        download.fetch(entry(server))
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.messages


def test_any_exception_of_the_callback_cancels_as_itself(server, caches):
    def stop(done, total):
        raise TimeoutError("enough")

    with pytest.raises(TimeoutError, match="enough"):
        download.fetch(entry(server), stop)
    assert not files(caches)


def test_a_cache_folder_that_cannot_be_made(server, caches, monkeypatch):
    (caches / "file").write_text("in the way")
    monkeypatch.setenv(download.CACHE_VARIABLE, str(caches / "file"))
    with pytest.raises(download.DownloadError, match=download.CACHE_VARIABLE):
        download.fetch(entry(server))
