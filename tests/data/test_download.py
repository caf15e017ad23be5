import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from clad.data import download
from clad.data.download import fetch
from clad.errors import DataError

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
MD5 = f"md5:{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if self.path == "/missing":
            return self.send_error(404)
        start = 0
        if asked and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(server.body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/*")
        else:
            self.send_response(200)
        data = server.body[start:]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: server.drop_after])  # a connection that breaks off
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.ranges, server.drop_after, server.asked = BODY, True, None, []
    server.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    server.handle_error = lambda *args: None  # a client that hangs up is part of the test
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("checksum", [SHA, MD5])
def test_a_file_is_fetched_once(server, tmp_path, checksum):
    path = tmp_path / "sub" / "file.bin"
    assert fetch([server.url], path, checksum) == path
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
    fetch([server.url], path, checksum)
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_resumed(server, tmp_path, ranges):
    path = tmp_path / "file.bin"
    server.ranges, server.drop_after = ranges, 600_000
    with pytest.raises(DataError, match=r"file.bin cannot be downloaded .* the same command"):
        fetch([server.url], path, SHA)
    assert not path.exists()
    assert (tmp_path / "file.bin.part").stat().st_size == 600_000
    server.drop_after = None
    assert fetch([server.url], path, SHA).read_bytes() == BODY
    assert server.asked == [None, "bytes=600000-"]


def test_a_part_that_is_complete_needs_no_bytes(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert fetch([server.url], tmp_path / "file.bin", SHA).read_bytes() == BODY


def test_a_wrong_checksum_is_refused_every_time(server, tmp_path):
    path = tmp_path / "file.bin"
    server.body = b"altered" + BODY
    for _ in range(2):
        with pytest.raises(DataError, match=r"sha256 is .*, expected .*; file refused"):
            fetch([server.url], path, SHA)
        assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"altered later")
    for _ in range(2):
        with pytest.raises(DataError, match="file refused"):
            fetch([server.url], path, SHA)


def test_the_next_address_is_tried(server, tmp_path):
    missing = server.url.replace("file.bin", "missing")
    fetch([missing, server.url], tmp_path / "file.bin", SHA)
    with pytest.raises(DataError, match=r"missing: 404 .*clad data import"):
        fetch([missing], tmp_path / "other.bin", SHA)


def test_no_network(tmp_path):
    with pytest.raises(DataError, match=r"x cannot be downloaded \(http://127.0.0.1:9/x: "):
        fetch(["http://127.0.0.1:9/x"], tmp_path / "x", SHA, timeout=1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(server, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_copy", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        fetch([server.url], tmp_path / "file.bin", SHA)
    assert list(tmp_path.iterdir()) == []
