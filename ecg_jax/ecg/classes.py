"""Which labels count as normal: the usual names, or what the user says (`--labels`)."""

from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from ecg_jax.errors import DataError

NORMAL = "N"
"""The class that counts as normal."""

NORMAL_NAMES = ("n", "normal", "norm", "snr", "nsr")
"""Names of labels that count as normal where nobody says otherwise, in any case."""

MOST_NAMED = 5


def parse(words: str) -> tuple[dict[str, str], Path | None]:
    """What `--labels` says: classes of labels, and the path of a table.

    Args:
        words: `NAME=CLASS` or a path, with commas between.

    Raises:
        DataError: A part is no such thing.

    Example:
        >>> parse("labels.csv,healthy=N,MI=O")
        ({'healthy': 'N', 'MI': 'O'}, PosixPath('labels.csv'))
    """
    if not words.strip():
        return {}, None
    if Path(words).is_file():
        return {}, Path(words)
    classes: dict[str, str] = {}
    table = None
    for part in map(str.strip, words.split(",")):
        if "=" not in part:
            if table is not None or not part:
                raise DataError(
                    f"--labels {words}: {part!r} is neither NAME=CLASS nor the one "
                    "table.\n  try: --labels NORM=N,MI=O, or --labels labels.csv"
                )
            table = Path(part)
            continue
        name, _, kind = part.rpartition("=")
        if name in classes:
            raise DataError(
                f"--labels {words}: {name} has two classes.\n  try: one of them"
            )
        classes[name] = kind
    return checked(classes, "--labels "), table


def checked(classes: Mapping[str, str], where: str = "") -> dict[str, str]:
    """Classes by label, those called normal as N.

    Raises:
        DataError: A label has no class, or a class no label.
    """
    for name, kind in classes.items():
        if not name or not kind:
            raise DataError(
                f"{where}{name}={kind}: {'a class of no label' if kind else 'no class'}"
                ".\n  try: NAME=N, where NAME is normal; or NAME=CLASS, a name of your "
                "own"
            )
    return {name: called(kind) for name, kind in classes.items()}


def called(kind: str) -> str:
    """N for all that is called normal, else the name itself."""
    return NORMAL if kind.lower() in NORMAL_NAMES else kind


def classes_of(there: Iterable[str], told: Mapping[str, str]) -> dict[str, str]:
    """Classes of the labels that there are: what is told, else the usual names.

    The usual names count as normal unless something else is told to be.
    """
    if NORMAL in told.values():
        return dict(told)
    usual = [name for name in there if called(name) == NORMAL]
    return {**dict.fromkeys(usual, NORMAL), **told}


def need_examples(told: Iterable[str], counts: Mapping[str, int]) -> None:
    """Refuse classes of labels that nothing has.

    Raises:
        DataError: Names one of them, and the labels that there are.
    """
    if missing := [name for name in told if not counts.get(name)]:
        some = next(iter(counts), "NAME")
        raise DataError(
            f"nothing is labelled {missing[0]!r}; the labels are "
            f"{in_words(counts) or 'none'}.\n"
            f"  try: --labels with names of these, such as --labels {some}=N"
        )


def in_words(counts: Mapping[str, int], normal: Container[str] = ()) -> str:
    """Labels with how many there are of each, the most frequent first.

    Example:
        >>> in_words({"MI": 4, "NORM": 1200}, ("NORM",))
        'NORM 1,200 (normal), MI 4'
    """
    order = sorted(counts.items(), key=lambda item: -item[1])
    shown = [
        f"{name[:24]} {count:,}" + (" (normal)" if name in normal else "")
        for name, count in order[:MOST_NAMED]
    ]
    more = [f"{len(order) - MOST_NAMED} more"] if len(order) > MOST_NAMED else []
    return ", ".join(shown + more)
