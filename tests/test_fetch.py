import hashlib
import http.server
import io
import json
import re
import shutil
import stat
import threading
import zipfile

import pytest
from ecg_files import write_challenge, write_ptb_xl

from ecg_jax.ecg import _unzip, fetch
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.errors import (
    ChecksumError,
    DataError,
    DiskFullError,
    DownloadError,
    EmptyFolderError,
    RunExistsError,
    UnsafeArchiveError,
)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; ranges, breaks and redirects as the test wishes."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/data.zip")
            self.end_headers()
            return
        if self.path not in server.files or (server.errors and server.errors.pop()):
            self.send_error(404 if self.path not in server.files else 503)
            return
        body, status, extra = server.files[self.path], 200, {}
        if asked and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            extra = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            body, status = body[start:], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        for key, value in extra.items():
            self.send_header(key, value)
        self.end_headers()
        if self.path == "/data.zip" and server.breaks:
            body = body[: server.breaks.pop()]
        self.wfile.write(body)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.files, made.asked, made.breaks, made.errors = {}, [], [], []
        made.ranges, made.etag = True, '"v1"'
        made.url = f"http://127.0.0.1:{made.server_address[1]}"
        thread = threading.Thread(
            target=made.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("ECG_JAX_CACHE", str(tmp_path / "home"))
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def pack(folder, top="challenge-2017-1.0.0/", sums=True):
    """A zip of a folder as PhysioNet makes it, and its SHA256SUMS.txt."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in walk(folder)}
    listed = "".join(
        f"{hashlib.sha256(body).hexdigest()} {name}\n" for name, body in files.items()
    )
    if sums:
        files["SHA256SUMS.txt"] = listed.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir(top.rstrip("/")) if top else None
        for name, body in files.items():
            archive.writestr(top + name, body)
    return out.getvalue(), listed


def walk(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def packed(tmp_path, server):
    write_challenge(tmp_path / "source", "NNAO~", duration_s=3.0)
    (tmp_path / "source" / "LICENSE.txt").write_text("ODC-By")
    body, sums = pack(tmp_path / "source")
    server.files = {"/data.zip": body, "/SHA256SUMS.txt": sums.encode()}
    return body


def get(server, tmp_path, **more):
    more = {"url": f"{server.url}/data.zip", **more}
    return fetch.fetch("challenge-2017", tmp_path / "out", **more)


def fetched(folder):
    return json.loads((folder / "fetched.json").read_text())


def test_fetch(tmp_path, server, packed):
    told = []
    digest = hashlib.sha256(packed).hexdigest()
    folder = get(
        server, tmp_path, sha256=digest.upper(), progress=lambda *x: told.append(x)
    )
    assert folder == tmp_path / "out" / "challenge-2017"
    assert told[-1] == (len(packed), len(packed))
    said = fetched(folder)
    assert (said["recordings"], said["sha256"]) == (5, digest)
    assert said["checked"] == "SHA-256 of the archive"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["challenge-2017"]
    for data_dir in (None, folder, tmp_path / "out"):
        assert open_dataset("challenge-2017", data_dir).read("R002").label == "A"
    server.files.clear()
    assert get(server, tmp_path) == folder  # nothing is asked twice


def test_every_file_is_checked_without_a_digest_of_the_archive(
    tmp_path, server, packed
):
    sums_url = f"{server.url}/SHA256SUMS.txt"
    folder = get(server, tmp_path, sums_url=sums_url)
    assert fetched(folder)["checked"] == f"each file, with {sums_url}"
    shutil.rmtree(folder)
    folder = get(server, tmp_path, sums_url=f"{server.url}/gone")
    assert fetched(folder)["checked"] == (
        "each file, with the archive's own SHA256SUMS.txt"
    )


def test_resume_after_breaks(tmp_path, server, packed):
    server.breaks = [1000, 700, 500]
    folder = get(server, tmp_path)
    assert fetched(folder)["sha256"] == hashlib.sha256(packed).hexdigest()
    assert [r for _, r in server.asked] == [
        None,
        "bytes=500-",
        "bytes=1200-",
        "bytes=2200-",
    ]


def test_resume_by_the_next_call(tmp_path, server, packed):
    server.breaks = [0, 0, 0, 0, 900]
    with pytest.raises(DownloadError) as error:
        get(server, tmp_path)
    part = tmp_path / "out" / "challenge-2017.zip.part"
    assert str(error.value) == (
        f"{server.url}/data.zip cannot be downloaded (the connection closed after 900 "
        f"of {len(packed)} bytes); 900 bytes are kept in {part}.\n"
        "  try: the same command again, it goes on from there"
    )
    assert part.stat().st_size == 900
    server.asked.clear()
    get(server, tmp_path)
    assert server.asked == [("/data.zip", "bytes=900-")]


@pytest.mark.parametrize("how", ["no ranges", "no version", "another version"])
def test_starts_anew_where_it_cannot_go_on(tmp_path, server, packed, how):
    server.breaks = [900]
    server.ranges = how != "no ranges"
    server.etag = "" if how == "no version" else '"v1"'
    if how == "another version":
        body, _ = pack(tmp_path / "source", top="")
        serve = Handler.do_GET

        def change(self):
            serve(self)
            self.server.etag = '"v2"'
            self.server.files["/data.zip"] = body

        Handler.do_GET = change
        try:
            folder = get(server, tmp_path)
        finally:
            Handler.do_GET = serve
        assert fetched(folder)["sha256"] == hashlib.sha256(body).hexdigest()
    else:
        folder = get(server, tmp_path)
        assert fetched(folder)["sha256"] == hashlib.sha256(packed).hexdigest()


def test_a_part_that_is_complete_already(tmp_path, server, packed):
    out = tmp_path / "out"
    out.mkdir()
    (out / "challenge-2017.zip.part").write_bytes(packed)
    (out / "challenge-2017.zip.part.version").write_text('"v1"')
    get(server, tmp_path)
    assert server.asked == [("/data.zip", f"bytes={len(packed)}-")]
    shutil.rmtree(out)
    out.mkdir()
    (out / "challenge-2017.zip.part").write_bytes(packed + b"more")
    (out / "challenge-2017.zip.part.version").write_text('"v1"')
    get(server, tmp_path)  # too long: from the start
    assert server.asked[-1] == ("/data.zip", None)


def test_server_errors(tmp_path, server, packed):
    server.errors = [True, True]
    get(server, tmp_path, url=f"{server.url}/data.zip")
    assert len(server.asked) == 3
    with pytest.raises(DownloadError) as error:
        fetch.fetch("mitdb", tmp_path / "out", url=f"{server.url}/gone")
    assert str(error.value) == (
        f"{server.url}/gone answers 404 Not Found.\n"
        "  try: look whether PhysioNet has moved it, and give --url"
    )
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(DownloadError, match="is no http address"):
            fetch.fetch("mitdb", tmp_path / "out", url=url)


def test_nobody_answers(tmp_path):
    with pytest.raises(DownloadError, match=r"cannot be downloaded \(.*refused"):
        fetch.fetch("mitdb", tmp_path, url="http://127.0.0.1:9/x.zip")


def test_redirects(tmp_path, server, packed):
    assert get(server, tmp_path, url=f"{server.url}/moved").is_dir()
    with pytest.raises(DownloadError, match="which is not encrypted"):
        fetch._secure("https://physionet.org/x", "http://elsewhere.org/x")


def test_wrong_digest(tmp_path, server, packed):
    with pytest.raises(ChecksumError) as error:
        get(server, tmp_path, sha256="0" * 64)
    assert str(error.value) == (
        f"{server.url}/data.zip has the SHA-256 {hashlib.sha256(packed).hexdigest()}, "
        f"not {'0' * 64}; it was deleted.\n"
        "  try: fetch again, or compare the SHA-256 with its publisher's"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_file(tmp_path, server, packed):
    sums = server.files["/SHA256SUMS.txt"].decode()
    archive = tmp_path / "out" / "challenge-2017.zip"

    def refused(text):
        server.files["/SHA256SUMS.txt"] = text.encode()
        with pytest.raises(ChecksumError) as error:
            get(server, tmp_path, sums_url=f"{server.url}/SHA256SUMS.txt")
        assert [p.name for p in archive.parent.iterdir()] == [archive.name]
        return str(error.value)

    name = "training/A00/R003.mat"
    (line,) = (x for x in sums.splitlines() if x.endswith(name))
    right = line.split()[0]
    assert refused(sums.replace(right, "f" * 64)) == (
        f"{name} in {archive} has the SHA-256 {right}, not {'f' * 64}.\n"
        "  try: delete the zip and fetch again"
    )
    assert refused(sums.replace(line, "")) == (
        f"{archive} holds 1 files that SHA256SUMS.txt does not list, the first is "
        f"{name}.\n"
        "  try: delete the zip and fetch again"
    )
    assert refused(f"{sums}{right} training/A00/R999.mat\n") == (
        f"{archive} lacks 1 files of SHA256SUMS.txt, the first is "
        "training/A00/R999.mat.\n"
        "  try: delete the zip and fetch again"
    )


def test_nothing_to_check_with(tmp_path, server, packed):
    server.files["/data.zip"], _ = pack(tmp_path / "source", sums=False)
    with pytest.raises(ChecksumError) as error:
        get(server, tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'out' / 'challenge-2017.zip'} comes without SHA256SUMS.txt, and "
        "none can be had from None: nothing to check it with.\n"
        "  try: give the SHA-256 of the zip"
    )
    assert not (tmp_path / "out" / "challenge-2017").exists()


def test_recordings_in_a_zip_inside(tmp_path, server, packed):
    inner, _ = pack(tmp_path / "source" / "training", top="training2017/", sums=False)
    outer = tmp_path / "outer"
    outer.mkdir()
    (outer / "training2017.zip").write_bytes(inner)
    shutil.copy(tmp_path / "source" / "REFERENCE-v3.csv", outer)
    server.files["/data.zip"], _ = pack(outer)
    assert len(open_dataset(get(server, tmp_path)).names) == 5


def test_fetch_ptb_xl(tmp_path, server):
    write_ptb_xl(tmp_path / "source", ["{'NORM': 100.0}", "{'IMI': 100.0}"])
    server.files["/data.zip"], sums = pack(tmp_path / "source")
    url = f"{server.url}/data.zip"
    folder = fetch.fetch("ptb-xl", tmp_path / "out", url=url)
    said = fetched(folder)
    assert said["recordings"] == 2 and said["licence"] == "CC BY 4.0"
    assert said["checked"] == "each file, with the archive's own SHA256SUMS.txt"
    assert "Scientific Data 7:154" in said["citation"]
    for data_dir in (None, folder, tmp_path / "out"):
        assert dict(open_dataset("ptb-xl", data_dir).labels) == {
            "00001_hr": "NORM",
            "00002_hr": "MI",
        }
    server.files["/data.zip"], _ = pack(tmp_path / "source", sums=False)
    server.files["/sums"] = sums.replace("a", "b").encode()
    sums_url = f"{server.url}/sums"
    with pytest.raises(ChecksumError, match="has the SHA-256"):
        fetch.fetch("ptb-xl", tmp_path / "new", url=url, sums_url=sums_url)


def test_what_exists_is_not_overwritten(tmp_path, server, packed):
    mine = tmp_path / "out" / "challenge-2017"
    mine.mkdir(parents=True)
    assert get(server, tmp_path) == mine  # an empty folder does no harm
    (mine / "fetched.json").unlink()
    with pytest.raises(RunExistsError) as error:
        get(server, tmp_path)
    assert str(error.value) == (
        f"{mine} exists and was not fetched.\n"
        f"  try: another --out, or --data-dir {mine} if it holds the recordings"
    )
    with pytest.raises(DataError) as error:
        fetch.fetch("ludb", tmp_path)
    assert str(error.value) == (
        "'ludb' is no data set that can be fetched.\n"
        "  try: one of challenge-2017, mitdb, ptb-xl"
    )


def test_full_disk(tmp_path, server, packed, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "_continue", full)
    with pytest.raises(DiskFullError) as error:
        get(server, tmp_path)
    assert str(error.value) == (
        f"no space is left in {tmp_path / 'out'} for challenge-2017.\n"
        "  try: free some, or another --out; what has been downloaded is kept"
    )


def test_an_archive_without_recordings(tmp_path, server):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x.txt").write_text("x")
    server.files["/data.zip"], _ = pack(tmp_path / "source")
    with pytest.raises(EmptyFolderError):
        get(server, tmp_path)


def test_sources_are_complete():
    for name, source in fetch.SOURCES.items():
        assert source.url.startswith("https://physionet.org/")
        version = "1.0.3" if name == "ptb-xl" else "1.0.0"
        assert source.url.endswith(f"-{version}.zip")
        assert source.sums_url == (
            f"https://physionet.org/files/{name}/{version}/SHA256SUMS.txt"
        )
        assert source.citation
        assert source.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", source.sha256)


# Archives that mean harm.


def zipped(tmp_path, *members):
    file = tmp_path / "bad.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, body, mode in members:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.external_attr = mode << 16
            archive.writestr(info, body)
    return file


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/evil",
        "C:/evil",
        "C:evil",
        "a\\..\\..\\evil",
        "//x/y",
    ],
)
def test_no_member_leaves_the_folder(tmp_path, name):
    file = zipped(tmp_path, ("good", b"1", 0o100644), (name, b"2", 0o100644))
    with pytest.raises(UnsafeArchiveError) as error:
        _unzip.safe_unpack(file, tmp_path / "in" / "out")
    assert str(error.value) == (
        f"{file} is not unpacked: member {name!r} would leave the folder.\n"
        "  try: delete it and fetch from PhysioNet"
    )
    assert walk(tmp_path) == [file]  # not even the good one


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_no_links_and_devices(tmp_path, kind):
    file = zipped(tmp_path, ("a", b"/etc/passwd", kind | 0o777))
    with pytest.raises(UnsafeArchiveError, match="member 'a' is a link or a device"):
        _unzip.safe_unpack(file, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_bad_archives(tmp_path, monkeypatch):
    out = tmp_path / "out"

    def refused(file, text, **more):
        with pytest.raises(UnsafeArchiveError) as error:
            _unzip.safe_unpack(file, out, **more)
        assert text in str(error.value)
        shutil.rmtree(out, ignore_errors=True)

    plain = 0o100644
    refused(
        zipped(tmp_path, ("a", b"1", plain), ("A", b"2", plain)),
        "two members with one name",
    )
    refused(
        zipped(tmp_path, ("a", b"1", plain), ("a/b", b"2", plain)),
        "is both a file and a folder",
    )
    large = zipped(tmp_path, ("a", b"1" * 100, plain))
    refused(large, "100 bytes, more than 50", max_bytes=50)
    text = large.read_bytes()
    # says 10 bytes in its directory, has 100
    lies = text.replace((100).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "bad.zip").write_bytes(lies)
    refused(tmp_path / "bad.zip", "is not unpacked: member 'a'")
    damaged = text.replace(b"1" * 100, b"1" * 99 + b"2")
    (tmp_path / "bad.zip").write_bytes(damaged)
    refused(tmp_path / "bad.zip", "Bad CRC-32")
    (tmp_path / "bad.zip").write_bytes(b"<html>no</html>")
    refused(tmp_path / "bad.zip", "is no zip")
    monkeypatch.setattr(_unzip, "MAX_MEMBERS", 1)
    refused(
        zipped(tmp_path, ("a", b"1", plain), ("b", b"2", plain)),
        "2 members, more than 1",
    )


def test_a_malicious_download_leaves_nothing(tmp_path, server):
    file = zipped(tmp_path, ("../../evil", b"x", 0o100644))
    server.files["/data.zip"] = file.read_bytes()
    with pytest.raises(UnsafeArchiveError):
        get(server, tmp_path)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"challenge-2017.zip"}
    assert not (tmp_path / "evil").exists()


def test_no_room_for_what_the_archive_announces(tmp_path, monkeypatch):
    file = zipped(tmp_path, ("a", b"1" * 100, 0o100644))
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(_unzip.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError) as error:
        _unzip.safe_unpack(file, tmp_path / "out")
    assert str(error.value) == (
        f"{file} unpacks to 100 bytes, {tmp_path / 'out'} has 10 left.\n"
        "  try: another --out"
    )
