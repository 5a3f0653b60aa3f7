"""Which recordings a folder in WFDB layout holds."""

from pathlib import Path

from ecg_jax.errors import EmptyFolderError, MissingFileError

SUFFIXES = (".mat", ".dat", ".hea", ".atr")
"""Of the files of a recording."""

FAST, SLOW = "records500", "records100"
"""Folders of PTB-XL, by the rate."""


def listed(root: Path) -> dict[str, str]:
    """Stem of every recording by name; the name is the last part where that is unique.

    Where `training/` is listed, nothing else counts: PhysioNet's whole project holds a
    validation folder too, which repeats part of it. Of PTB-XL, whose recordings are
    there at two rates, the higher one is taken where it is there.
    """
    training = root / "training"
    for folder in (training, root):
        listing = folder / "RECORDS"
        if listing.is_file():
            stems = _listed(folder)
            break
    else:
        listing = root
        stems = _lying(training) or _lying(root) or _below(training) or _below(root)
    fast = [stem for stem in stems if root / FAST in stem.parents]
    stems = [
        stem for stem in stems if fast and root / SLOW not in stem.parents
    ] or stems
    if not stems:
        raise EmptyFolderError(
            f"{listing} lists no recordings.\n"
            "  try: a folder with RECORDS, or with .mat or .hea files, there or in "
            "training/"
        )
    relative = [stem.relative_to(root).as_posix() for stem in dict.fromkeys(stems)]
    unique = len({stem.rsplit("/", 1)[-1] for stem in relative}) == len(relative)
    return {stem.rsplit("/", 1)[-1] if unique else stem: stem for stem in relative}


def _lying(folder: Path) -> list[Path]:
    """Stems of the recordings in a folder, not of those in folders below.

    Segments of a record that lies there too are no recordings of their own.
    """
    headers = {file.with_suffix("") for file in folder.glob("*.hea")}
    mats = {file.with_suffix("") for file in folder.glob("*.mat")}
    parts = {folder / name for stem in headers - mats for name in _segments(stem)}
    return sorted((headers | mats) - parts)


def _below(folder: Path) -> list[Path]:
    """Stems of the recordings in folders below, folder by folder."""
    files = (file for suffix in (".hea", ".mat") for file in folder.rglob(f"*{suffix}"))
    return [stem for part in sorted({f.parent for f in files}) for stem in _lying(part)]


def _segments(stem: Path) -> list[str]:
    """Names of the segments of a record; none where it has only itself."""
    text = stem.with_name(f"{stem.name}.hea").read_text("utf-8", errors="replace")
    lines = [line.split() for line in text.splitlines()]
    first, *rest = [words[0] for words in lines if words and words[0][0] != "#"] or [""]
    return rest if "/" in first else []


def _listed(folder: Path) -> list[Path]:
    """Stems named by a `RECORDS`; a line may name a folder with its own."""
    stems: list[Path] = []
    text = (folder / "RECORDS").read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        entry = line.strip()
        parts = Path(entry).parts
        if not entry or entry.startswith("#"):
            continue
        if Path(entry).is_absolute() or ".." in parts:
            raise MissingFileError(
                f"{folder / 'RECORDS'} names {entry!r}, outside its folder.\n"
                "  try: names relative to RECORDS"
            )
        if (folder / entry / "RECORDS").is_file():
            stems += _listed(folder / entry)
        elif (folder / entry).is_dir():
            stems += _lying(folder / entry)
        else:
            stem = folder / entry
            stems.append(stem.with_suffix("") if stem.suffix in SUFFIXES else stem)
    training = [stem for stem in stems if folder / "training" in stem.parents]
    return training or stems
