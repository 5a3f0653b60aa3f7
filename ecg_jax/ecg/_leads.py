"""Which signals of a record are ECG leads, and which of them are read."""

import re
from collections.abc import Sequence

MILLIVOLTS = {
    "mv": 1.0,
    "uv": 1e-3,
    "\N{GREEK SMALL LETTER MU}v": 1e-3,
    "v": 1e3,
    "nv": 1e-6,
}
"""One unit in mV, by its name in lower case (a micro sign becomes a mu: casefold)."""

ALL = ("all",)
"""Asks for every lead."""

PREFERRED_LEADS = ("MLII", "II")
"""Where no lead is asked for, a recording of several is read as the first of these that
it has, else as a lead by name, else as its first."""

_ECG = re.compile(
    r"f?e[ck]g\d*|i{1,3}|av[rlf]|v(\d+r?|[xyz])?|m?cl\d|c[cm]\d|ml?(i{1,3}|v?\d)"
)
_OTHER = re.compile(
    r"resp\w*|imp\w*|(air)?flow|thora\w*|abdo\w*|(et)?co2|s[ap]o2|pleth\w*|ppg|"
    r"press\w*|n?i?a?bp\w*|art|pap|cvp|icp|lap|rap|uc|gsr|eda|marker|event|stim\w*|"
    r"hr|temp\w*|acc\w*|pcg|scg|bcg|eeg|eog|emg"
)
_EEG = re.compile(r"fp\d|[fcpotam]\d|[fcpo]z")


def choose(
    names: Sequence[str], units: Sequence[str], leads: Sequence[str] = ()
) -> list[int]:
    """Signals to read.

    A signal is a lead where its unit is a voltage and its name is not that of
    something else: respiration, pressure, an EEG, ...

    Args:
        names: Of the signals; case does not count.
        units: Of the signals.
        leads: Those of them that there are, in this order, each by its whole name or
            among its words ("II" is "ECG lead II" too). None named: one lead, the first
            of `PREFERRED_LEADS`; else a signal that is named as ECG leads are; else the
            first. `ALL`: all leads.

    Returns:
        Indices; fewer than were asked for where a lead is missing.

    Example:
        >>> names, units = ["RESP", "i", "ii"], ["mV"] * 3
        >>> choose(names, units), choose(names, units, ["II", "I"])
        ([2], [2, 1])
    """
    found = [
        k
        for k, (name, unit) in enumerate(zip(names, units, strict=True))
        if unit.casefold() in MILLIVOLTS and not _is_other(name)
    ]
    if tuple(leads) == ALL:
        return found
    if leads:
        own = [_called(lead, names, found) for lead in leads]
        return [at[0] for at in own if at]
    for same in (_same_name, _same_words):
        for lead in PREFERRED_LEADS:
            if chosen := [k for k in found if same(lead, names[k])]:
                return chosen[:1]
    known = [k for k in found if any(map(_ECG.fullmatch, _words(names[k])))]
    return (known or found)[:1]


def missing(names: Sequence[str], leads: Sequence[str]) -> list[str]:
    """Those leads that none of some names stands for."""
    found = range(len(names))
    return [lead for lead in leads if not _called(lead, names, found)]


def _called(lead: str, names: Sequence[str], found: Sequence[int]) -> list[int]:
    """Which of some signals a lead is called by, at best by its whole name."""
    for same in (_same_name, _same_words):
        if chosen := [k for k in found if same(lead, names[k])]:
            return chosen
    return []


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W_]+", name.casefold())) - {""}


def _is_other(name: str) -> bool:
    """Named as something else; two electrodes of the 10-20 system are an EEG."""
    words = _words(name)
    electrodes = len(words) > 1 and all(map(_EEG.fullmatch, words))
    return electrodes or any(map(_OTHER.fullmatch, words))


def _same_name(lead: str, name: str) -> bool:
    return lead.casefold() == name.casefold()


def _same_words(lead: str, name: str) -> bool:
    return _words(lead) <= _words(name)
