"""Download a data set from PhysioNet: resumed, checked, unpacked with care.

No recording is part of this package; users fetch what they may use. The archive of a
whole project is taken, one request instead of one a recording.

What is checked. With a SHA-256 (an argument, or pinned in `SOURCES`) the archive must
have it, before it is unpacked. PhysioNet publishes none for its archives, and none is
pinned yet; without one, every file is compared, after unpacking, with the project's
`SHA256SUMS.txt`, which is downloaded apart from the archive. If that cannot be had
the archive's own copy is used, which finds damage but no forgery; `fetched.json` in
the folder says which of the three it was. With nothing to compare, nothing is kept.
"""

import errno
import hashlib
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType

from ecg_jax.ecg import known, records
from ecg_jax.ecg._unzip import safe_unpack
from ecg_jax.errors import (
    ChecksumError,
    DataError,
    DiskFullError,
    DownloadError,
    RunExistsError,
)
from ecg_jax.storage.cache import cache_home

Progress = Callable[[int, int | None], None]
"""Called with bytes here and bytes in all, if the server says."""

_BLOCK = 1 << 18
_TIMEOUT_S = 60
_NUM_TRIES = 5


@dataclass(frozen=True)
class Source:
    """Where a data set is.

    Attributes:
        title: What it is called.
        url: The zip of the whole project.
        sums_url: SHA-256 of each of its files.
        sha256: Of the zip, where it is known.
        licence: As PhysioNet states it.
        citation: What to cite.
    """

    title: str
    url: str
    sums_url: str
    sha256: str | None
    licence: str
    citation: str


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "challenge-2017": Source(
            title=known.CHALLENGE_2017[0],
            url="https://physionet.org/static/published-projects/challenge-2017/"
            "af-classification-from-a-short-single-lead-ecg-recording-the-"
            "physionetcomputing-in-cardiology-challenge-2017-1.0.0.zip",
            sums_url="https://physionet.org/files/challenge-2017/1.0.0/SHA256SUMS.txt",
            sha256=None,
            licence="ODC-By 1.0",
            citation=known.CHALLENGE_2017[1],
        ),
        "mitdb": Source(
            title=known.MITDB[0],
            url="https://physionet.org/static/published-projects/mitdb/"
            "mit-bih-arrhythmia-database-1.0.0.zip",
            sums_url="https://physionet.org/files/mitdb/1.0.0/SHA256SUMS.txt",
            sha256=None,
            licence="ODC-By 1.0",
            citation=known.MITDB[1],
        ),
        "ptb-xl": Source(
            title=known.PTB_XL[0],
            url="https://physionet.org/static/published-projects/ptb-xl/"
            "ptb-xl-a-large-publicly-available-electrocardiography-dataset-1.0.3.zip",
            sums_url="https://physionet.org/files/ptb-xl/1.0.3/SHA256SUMS.txt",
            sha256=None,
            licence="CC BY 4.0",
            citation=known.PTB_XL[1],
        ),
    }
)


def fetch(
    name: str,
    out: str | Path,
    *,
    url: str | None = None,
    sha256: str | None = None,
    sums_url: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download a data set, check it and unpack it into `out/name`.

    A download that breaks off is continued by the next call. If the folder is there
    already it is returned as it is.

    Args:
        name: "challenge-2017", "mitdb" or "ptb-xl".
        out: Folder for data sets.
        url: Another place of the zip; then `sums_url` must be given too, or `sha256`,
            or the archive holds its own `SHA256SUMS.txt`.
        sha256: Of the zip.
        sums_url: Another place of the project's `SHA256SUMS.txt`.
        progress: See `Progress`.

    Returns:
        The folder, ready for `open_folder`; `open_dataset(name)` finds it from now on.

    Raises:
        DownloadError: The server cannot be reached or breaks off.
        ChecksumError: A file does not have the SHA-256 it should have.
        UnsafeArchiveError: The archive would write outside its folder.
        RunExistsError: `out/name` exists and is no fetched data set.
        DiskFullError: There is no room.
    """
    if name not in SOURCES:
        raise DataError(
            f"{name!r} is no data set that can be fetched.\n"
            f"  try: one of {', '.join(SOURCES)}"
        )
    source = SOURCES[name]
    base = Path(out)
    final = base / name
    if (final / "fetched.json").is_file():
        _remember(name, final)
        return final
    if final.exists() and not (final.is_dir() and not any(final.iterdir())):
        raise RunExistsError(
            f"{final} exists and was not fetched.\n"
            f"  try: another --out, or --data-dir {final} if it holds the recordings"
        )
    if url is None:
        sha256, sums_url = sha256 or source.sha256, sums_url or source.sums_url
    try:
        base.mkdir(parents=True, exist_ok=True)
        archive = base / f"{name}.zip"
        _download(url or source.url, archive, progress)
        digest = _digest(archive)
        if sha256 is not None and digest != sha256.lower():
            archive.unlink()
            raise ChecksumError(
                f"{url or source.url} has the SHA-256 {digest}, not {sha256.lower()}; "
                "it was deleted.\n"
                "  try: fetch again, or compare the SHA-256 with its publisher's"
            )
        ready = base / f".{name}.unpacking"
        shutil.rmtree(ready, ignore_errors=True)  # of a killed fetch
        try:
            files = safe_unpack(archive, ready)
            checked = "SHA-256 of the archive"
            if sha256 is None:
                checked = _check_files(ready, files, sums_url, archive)
            _nested(ready)
            said = {
                "name": name,
                "url": url or source.url,
                "sha256": digest,
                "checked": checked,
                "recordings": len(records.open_folder(ready).names),
                "licence": source.licence,
                "citation": source.citation,
            }
            (ready / "fetched.json").write_text(json.dumps(said, indent=2) + "\n")
            os.replace(ready, final)
        finally:
            shutil.rmtree(ready, ignore_errors=True)
        archive.unlink()
    except OSError as error:
        if _is_full(error):
            raise DiskFullError(
                f"no space is left in {base} for {name}.\n"
                "  try: free some, or another --out; what has been downloaded is kept"
            ) from error
        raise
    _remember(name, final)
    return final


def _download(url: str, target: Path, progress: Progress | None) -> None:
    """Get `url` into `target` by way of `target.part`, going on where it broke off."""
    if target.is_file():
        return
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is no http address.\n  try: https://...")
    part = target.with_name(target.name + ".part")
    reason, after = "", 0
    for attempt in range(_NUM_TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, progress)
            os.replace(part, target)
            return
        except DownloadError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                raise DownloadError(
                    f"{url} answers {error.code} {error.reason}.\n"
                    "  try: look whether PhysioNet has moved it, and give --url"
                ) from error
            reason = f"{error.code} {error.reason}"
        except (OSError, HTTPException, EOFError) as error:
            if getattr(error, "filename", None) or _is_full(error):
                raise  # of the disk, not of the network
            reason = str(getattr(error, "reason", error))
        after = part.stat().st_size if part.exists() else 0
        if attempt + 1 < _NUM_TRIES:
            time.sleep(0.0 if after > before else min(0.2 * 2**attempt, 5.0))
    raise DownloadError(
        f"{url} cannot be downloaded ({reason}); {after} bytes are kept in {part}.\n"
        "  try: the same command again, it goes on from there"
    )


def _continue(url: str, part: Path, progress: Progress | None) -> None:
    """One request, for the bytes that are missing.

    The server's name for its version (ETag, or the date) is kept beside the part; if
    it has another one by now, or cannot send ranges, it sends all and we start anew.
    """
    beside = part.with_name(part.name + ".version")
    have = part.stat().st_size if part.exists() else 0
    version = beside.read_text("utf-8") if beside.exists() else ""
    headers = {"User-Agent": "ecg_jax", "Accept-Encoding": "identity"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    else:
        have = 0
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if error.headers.get("Content-Range", "") == f"bytes */{have}":
            beside.unlink(missing_ok=True)
            return
        part.unlink()
        raise EOFError("the server has another version by now") from error
    with response:
        _secure(url, response.geturl())
        if response.status != 206:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise EOFError("the server sent another range than asked for")
        etag = response.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else ""
        beside.write_text(strong or response.headers.get("Last-Modified", ""), "utf-8")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("r+b" if have else "wb") as out:
            out.seek(have)
            out.truncate()
            while block := response.read(_BLOCK):
                out.write(block)
                have += len(block)
                if progress:
                    progress(have, total)
    if total is not None and have < total:
        raise EOFError(f"the connection closed after {have} of {total} bytes")
    beside.unlink(missing_ok=True)


def _is_full(error: BaseException) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def _secure(asked: str, got: str) -> None:
    """A redirect must not lead from https to http."""
    if asked.startswith("https:") and not got.startswith("https:"):
        raise DownloadError(f"{asked} leads to {got}, which is not encrypted.")


def _digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _check_files(
    folder: Path, files: tuple[Path, ...], sums_url: str | None, archive: Path
) -> str:
    """Compare every file with `SHA256SUMS.txt`; returns whose it was."""
    sums, checked = None, f"each file, with {sums_url}"
    if sums_url is not None:
        sums = _text(sums_url)
    if sums is None and (folder / "SHA256SUMS.txt").is_file():
        sums = (folder / "SHA256SUMS.txt").read_text("utf-8", errors="replace")
        checked = "each file, with the archive's own SHA256SUMS.txt"
    if sums is None:
        raise ChecksumError(
            f"{archive} comes without SHA256SUMS.txt, and none can be had from "
            f"{sums_url}: nothing to check it with.\n"
            "  try: give the SHA-256 of the zip"
        )
    wanted: dict[str, str] = {}
    for line in sums.splitlines():
        digest, _, path = line.strip().partition(" ")
        if path := path.strip().removeprefix("*").removeprefix("./"):
            wanted[path] = digest.lower()
    present = {path.as_posix() for path in files} - {"SHA256SUMS.txt"}
    wanted.pop("SHA256SUMS.txt", None)
    for path in sorted(present & wanted.keys()):
        if (digest := _digest(folder / path)) != wanted[path]:
            raise ChecksumError(
                f"{path} in {archive} has the SHA-256 {digest}, not {wanted[path]}.\n"
                "  try: delete the zip and fetch again"
            )
    if missing := sorted(wanted.keys() - present):
        raise ChecksumError(
            f"{archive} lacks {len(missing)} files of SHA256SUMS.txt, the first is "
            f"{missing[0]}.\n"
            "  try: delete the zip and fetch again"
        )
    unlisted = sorted(present - wanted.keys())
    if data := [path for path in unlisted if not path.endswith((".txt", ".html"))]:
        raise ChecksumError(
            f"{archive} holds {len(data)} files that SHA256SUMS.txt does not list, the "
            f"first is {data[0]}.\n"
            "  try: delete the zip and fetch again"
        )
    return checked


def _text(url: str) -> str | None:
    """A small text, or None if it cannot be had."""
    request = urllib.request.Request(url, headers={"User-Agent": "ecg_jax"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            _secure(url, response.geturl())
            return response.read(16 << 20).decode("utf-8", errors="replace")
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, HTTPException):
        pass
    return None


def _nested(folder: Path) -> None:
    """Unpack `training2017.zip` where a project holds its recordings only in there."""
    inner = folder / "training2017.zip"
    if inner.is_file() and not any(folder.glob("training/**/*.mat")):
        shutil.rmtree(folder / "training", ignore_errors=True)
        safe_unpack(inner, folder / "training")


def _remember(name: str, folder: Path) -> None:
    """Note where a data set is, for `open_dataset(name)`; no harm if that fails."""
    file = cache_home() / "datasets.json"
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict):
        known = {}
    known[name] = str(folder.resolve())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        scratch.write_text(json.dumps(known, indent=2) + "\n", "utf-8")
        os.replace(scratch, file)
    except OSError:
        pass
