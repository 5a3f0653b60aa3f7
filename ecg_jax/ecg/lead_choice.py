"""Which leads of a data set are read: those asked for, by name, in every recording."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

from ecg_jax.ecg._leads import ALL, PREFERRED_LEADS, missing
from ecg_jax.ecg.cut import BeatConfig
from ecg_jax.ecg.records import Folder, RecordingFolder
from ecg_jax.errors import DataError, RecordingError

NUM_ASKED = 100
"""Recordings that say which leads are all leads: the first of the folder."""

MOST_NAMED = 5


def settled(folder: Folder, config: BeatConfig) -> BeatConfig:
    """The configuration with the names of the leads to read, where any are asked for.

    "all" stands for the leads that most of the first 100 recordings have: what a
    network sees is the same leads in the same order, so recordings that lack one are
    left out. Where recordings do not name their leads, "all" stays as it is. A folder
    that was opened with leads of its own is read so unless the configuration says more.

    Raises:
        DataError: No recording has the leads that are asked for.
    """
    wanted = config.leads or tuple(getattr(folder, "leads", ()))
    if not wanted or not folder.names:
        return config
    if wanted == ALL:
        found = Counter(_leads_of_each(folder, NUM_ASKED))
        apart = [names for names, _ in found.most_common() if _differ(names)]
        if found and not apart:
            raise DataError(
                f"the leads of the recordings do not differ in name: {_there(found)}.\n"
                "  try: give each a name of its own in the headers, or read one, "
                "without --beats.leads"
            )
        return replace(config, leads=(apart[0] if apart else ()) or ALL)
    if not any(not missing(names, wanted) for names in _leads_of_each(folder)):
        found = Counter(_leads_of_each(folder))
        raise DataError(
            f"none of {len(folder.names):,} recordings has the leads "
            f"{', '.join(wanted)}; there are {_there(found)}.\n"
            f"  try: leads that they have, such as --beats.leads {_example(found)}"
        )
    return replace(config, leads=wanted)


def read_as(folder: Folder, leads: tuple[str, ...]) -> Folder:
    """A folder of which no more is read than the leads that are asked for."""
    if isinstance(folder, RecordingFolder):
        return replace(folder, leads=leads)
    return folder


def _leads_of_each(folder: Any, most: int | None = None) -> Any:
    """The leads of each recording that can be read, one after the other."""
    for name in islice(folder.names, most):
        try:
            if isinstance(folder, RecordingFolder):
                yield folder.leads_of(name)
            else:
                yield folder.read(name).leads
        except (RecordingError, OSError):
            continue


def _differ(names: tuple[str, ...]) -> bool:
    return len({name.casefold() for name in names}) == len(names)


def _there(found: Counter[tuple[str, ...]]) -> str:
    """How many recordings have which leads, in words."""
    named = [(", ".join(names) or "no names", n) for names, n in found.most_common()]
    shown = [f"{names} in {n:,}" for names, n in named[:MOST_NAMED]]
    more = [f"others in {sum(n for _, n in named[MOST_NAMED:]):,}"]
    more = more if named[MOST_NAMED:] else []
    return "; ".join(shown + more) or "none that can be read"


def _example(found: Counter[tuple[str, ...]]) -> str:
    names = found.most_common(1)[0][0] if found else ()
    return " ".join(names) or PREFERRED_LEADS[-1]
