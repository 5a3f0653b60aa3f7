"""Unpack an archive that came over the network: nothing may leave its folder."""

import os
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from ecg_jax.errors import DiskFullError, UnsafeArchiveError

MAX_BYTES = 8 << 30
MAX_MEMBERS = 200_000
_BLOCK = 1 << 20


def safe_unpack(
    archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES
) -> tuple[Path, ...]:
    """Unpack a zip into a folder that does not exist yet.

    A single folder at the top of the archive is left out of the paths. Every name is
    checked before the first byte is written, and the bytes are counted as they come:
    an archive's own word on its size is not believed.

    Args:
        archive: The zip.
        folder: To be created.
        max_bytes: Most that all members may take together.

    Returns:
        The files, relative to `folder`.

    Raises:
        UnsafeArchiveError: A member is absolute, climbs out with `..`, is a link, a
            device or encrypted, comes twice, or there is too much; or it is no zip.
        DiskFullError: The disk has less room than the archive announces.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UnsafeArchiveError(
            f"{archive} is no zip ({error}).\n  try: delete it and fetch again"
        ) from error
    with opened as source:
        checked = [(_checked(archive, member), member) for member in source.infolist()]
        members = {path: member for path, member in checked if not member.is_dir()}
        num_files = sum(not member.is_dir() for _, member in checked)
        if len({str(path).lower() for path in members}) != num_files:
            raise _unsafe(archive, "two members with one name")
        if num_files > MAX_MEMBERS:
            raise _unsafe(archive, f"{num_files} members, more than {MAX_MEMBERS}")
        announced = sum(member.file_size for member in members.values())
        if announced > max_bytes:
            raise _unsafe(archive, f"{announced} bytes, more than {max_bytes}")
        folder.mkdir(parents=True)
        if announced > shutil.disk_usage(folder).free:
            raise DiskFullError(
                f"{archive} unpacks to {announced} bytes, {folder} has "
                f"{shutil.disk_usage(folder).free} left.\n"
                "  try: another --out"
            )
        tops = {path.parts[0] for path in members}
        strip = len(tops) == 1 and all(len(path.parts) > 1 for path in members)
        written, room = [], max_bytes
        for path, member in members.items():
            short = PurePosixPath(*path.parts[1:]) if strip else path
            room -= _write(archive, source, member, folder / short, room)
            written.append(Path(short))
    return tuple(written)


def _unsafe(archive: Path, why: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"{archive} is not unpacked: {why}.\n  try: delete it and fetch from PhysioNet"
    )


def _checked(archive: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    """The member's path, if it is a plain file below the folder."""
    name = member.orig_filename
    path = PurePosixPath(name)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if (
        path.is_absolute()
        or PureWindowsPath(name).drive
        or ".." in path.parts
        or "\\" in name
        or "\0" in name
        or not path.parts
    ):
        raise _unsafe(archive, f"member {name!r} would leave the folder")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(archive, f"member {name!r} is a link or a device")
    if member.flag_bits & 1:
        raise _unsafe(archive, f"member {name!r} is encrypted")
    return path


def _write(
    archive: Path,
    source: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    target: Path,
    room: int,
) -> int:
    """Write one member; returns its bytes."""
    count = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(member) as data, target.open("xb") as out:
            while block := data.read(_BLOCK):
                count += len(block)
                if count > min(room, member.file_size):
                    raise _unsafe(archive, f"member {member.filename!r} is too large")
                out.write(block)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise _unsafe(archive, f"member {member.filename!r}: {error}") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise _unsafe(
            archive, f"member {member.filename!r} is both a file and a folder"
        ) from error
    os.chmod(target, 0o644)
    return count
