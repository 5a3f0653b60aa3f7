"""Beats that somebody has already: arrays, or files that hold such."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Float32

from ecg_jax.ecg.beat_files import read_beats
from ecg_jax.ecg.beats import GIVEN, Beats, RecordTable, extract_beats
from ecg_jax.ecg.classes import NORMAL, checked, classes_of
from ecg_jax.ecg.cut import ANNOTATED, BeatConfig, Window
from ecg_jax.ecg.labels import Told
from ecg_jax.ecg.records import open_folder
from ecg_jax.errors import DataError, DTypeError, ExampleError, NonFiniteError

LARGEST_MV, SMALLEST_MV = 20.0, 0.02
"""No ECG is larger; what is, is likely in microvolts. Nor is one smaller, over all its
beats: what is, is likely in volts."""
SLOWEST_HZ, SHORTEST_S, LONGEST_S = 10.0, 0.01, 60.0
"""Rates below show no QRS; no window of one beat is shorter, or longer."""

MOST_NAMED = 5
MOST_LEADS = 16
SMOOTH_S, AROUND_S = 0.06, 0.08


def beats(
    source: Float[Array, "beat ..."] | Float[np.ndarray, "beat ..."] | str | Path,
    *,
    sample_rate_hz: float | None = None,
    leads: Sequence[str] = (),
    r_peak_s: float | None = None,
    labels: Told | np.ndarray | None = None,
    records: Sequence[Any] | np.ndarray | None = None,
    classes: Mapping[Any, str] | None = None,
    contract: BeatConfig | None = None,
) -> Beats:
    """Beats from an array or a file, to be decided, explained, plotted and reported.

    What a function sees of them, `beats.inputs()`, is the array itself, in its dtype
    and shape.

    Args:
      source: an array `[beat, time]` of one lead or `[beat, lead, time]`, float32 or
        float64, in mV; or a path. `.npz`: an array `beats` and, where known,
        `sample_rate_hz`, `leads`, `labels`, `records`, `r_peak_s`. `.csv`: a row for
        each beat, with a header if there are columns `label`, `record` and
        `sample_rate_hz` (the same in every row). `.parquet`: a column `beat` of lists,
        and such columns. A folder of recordings in WFDB layout: beats are found and
        cut as `ecg-jax run` does.
      sample_rate_hz: samples a second. May be left out where the file says it; of a
        folder, the rate of the windows, by default 100.
      leads: names of the leads of an array or a file, one each; without them a single
        lead has no name, and several are refused. Of a folder, which are read: all of
        these, in this order, or ("all",); without them one, MLII or II where there is
        one.
      r_peak_s: where R is in the window, in seconds from its start, to the nearest
        sample. None: it is detected, one place for all beats: the middle of the
        steepest stretch of 60 ms, then the largest deflection within 80 ms of it, in
        the median over the beats of the first lead.
      labels: of each beat: names, numbers, or truth values, of which True is normal.
        Of a folder, of each recording: the path of a table with the columns
        `recording,label` and, if folds are given, `fold`; labels by recording; or one
        for each, in the order of `RECORDS`. None: what the folder says.
      records: the recording of each beat; without it, none is known, and every beat
        counts by itself.
      classes: for labels of one's own the class that they are of:
        {"NORM": "N", "MI": "O"}. Labels of class N are normal; other classes bear any
        name. Where none is said to be, those called "N", "normal", "NORM", "NSR" or
        "SNR" are normal, in upper or lower case.
      contract: of a folder, how its recordings are cut and scaled, as a network says
        it: `load_network(...).contract`, with its rate and leads.

    Returns:
      The beats.

    Raises:
      ExampleError: the array is empty, or has another number of axes.
      DTypeError: it holds no floats.
      NonFiniteError: it holds NaN or infinite numbers.
      DataError: the rate, a lead, a label, R or the unit makes no sense.
      MissingFileError: the file is not there.

    Example:
      >>> import numpy as np, ecg_jax as ej
      >>> x = np.zeros((4, 100), np.float32)
      >>> x[:, 40] = 1  # R
      >>> labels = ["NORM", "MI", "NORM", "MI"]
      >>> ej.beats(x, sample_rate_hz=100, leads=["II"], labels=labels)
      Beats: 4, R - 400 ms to R + 600 ms (R detected) at 100 Hz, lead II
        labels: NORM 2 (normal), MI 2
        split: none, given 4
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            told = {"records": records, "r_peak_s": r_peak_s}
            config = _cut(path, sample_rate_hz, leads, contract)
            return _of_folder(path, config, labels, classes, told)
        held = read_beats(path)
        array = _checked(held.pop("beats"))
        sample_rate_hz = _either(sample_rate_hz, held, "sample_rate_hz")
        r_peak_s = _either(r_peak_s, held, "r_peak_s")
        labels = _either(labels, held, "labels")
        records = _either(records, held, "records")
        if not len(leads) and "leads" in held:
            leads = np.atleast_1d(held["leads"]).tolist()
        if sample_rate_hz is None:
            raise DataError(
                f"{path} does not say its sample rate.\n"
                "  try: sample_rate_hz=..., samples a second; or in the file: an array "
                "of an .npz, a column 'sample_rate_hz' of a .csv or .parquet"
            )
    else:
        array = _checked(source)
    if contract is not None:
        raise DataError(
            "a contract says how recordings are cut and scaled; these are beats that "
            "are cut already.\n  try: a folder of recordings; or, of beats as the "
            "network sees them, sample_rate_hz and r_peak_s"
        )
    num, time = len(array), array.shape[-1]
    rate = _rate(sample_rate_hz)
    _check_window(rate, time)
    millivolts = np.asarray(array, np.float32)
    millivolts = millivolts[:, None] if array.ndim == 2 else millivolts
    names = _leads(leads, *millivolts.shape[1:])
    _check_amplitudes(millivolts)
    at = (
        _detect(millivolts[:, 0], rate)
        if r_peak_s is None
        else _r(r_peak_s, rate, time)
    )
    label, normal = _labels(labels, num, classes)
    record, recordings = _records(records, num)
    unknown = np.full(num, np.nan, np.float32)
    return Beats(
        config=Window(rate, at / rate, (time - at) / rate),
        millivolts=millivolts,
        record=record,
        r_time_s=unknown,
        rr_before_s=unknown,
        rr_after_s=unknown,
        label=label,
        kind=None,
        records=_table(recordings, record, millivolts),
        leads=names,
        given=array,
        classes=normal,
        is_r_detected=r_peak_s is None,
        is_recorded=records is not None,
    )


def _either(value: Any, held: Mapping[str, Any], name: str) -> Any:
    """What the call says, or else the file; a number that a file holds as an array."""
    if value is not None or name not in held:
        return value
    found = held[name]
    return found.item() if np.ndim(found) == 0 else found


def _of_folder(
    path: Path,
    config: BeatConfig,
    labels: Told | np.ndarray | None,
    classes: Mapping[Any, str] | None,
    told: Mapping[str, Any],
) -> Beats:
    """The beats of recordings, cut out by R peaks that are found in them."""
    if given := [name for name, value in told.items() if value is not None]:
        raise DataError(
            f"{path} is a folder of recordings, which say themselves what "
            f"{', '.join(given)} would.\n  try: without {given[0]}; or an array"
        )
    said = labels.tolist() if isinstance(labels, np.ndarray) else labels
    folder = open_folder(path, labels=said)
    return extract_beats(folder, config, cache_dir=None, classes=_named(classes))


def _cut(
    path: Path,
    sample_rate_hz: float | None,
    leads: Sequence[str],
    contract: BeatConfig | None,
) -> BeatConfig:
    """How recordings are cut: as a network takes them, or as the call says."""
    names = (leads,) if isinstance(leads, str) else tuple(leads)
    if contract is None:
        usual = BeatConfig.sample_rate_hz
        rate = usual if sample_rate_hz is None else _rate(sample_rate_hz)
        return BeatConfig(leads=names, sample_rate_hz=rate)
    if names or sample_rate_hz is not None:
        raise DataError(
            f"{path}: the contract says the rate and the leads.\n"
            "  try: without sample_rate_hz and leads; or without contract"
        )
    return contract


def _checked(source: Any) -> Float[np.ndarray, "beat ..."]:
    """The array, if it is one of beats in mV."""
    if isinstance(source, np.ma.MaskedArray):
        raise DTypeError(
            "the beats are a masked array: what is masked is unknown.\n"
            "  try: x.data of the beats without a masked sample"
        )
    array = np.asarray(source)
    if array.dtype not in (np.float32, np.float64):
        raise DTypeError(
            f"the beats are {array.dtype}, not floats in mV.\n"
            "  try: x.astype(np.float32) / units_per_mV, of ADC counts or microvolts"
        )
    if array.ndim not in (2, 3):
        raise ExampleError(
            f"the beats have the shape {array.shape}.\n"
            "  try: an array [beat, time] of one lead, or [beat, lead, time]; "
            "x[None] of a single beat"
        )
    if array.ndim == 3 and array.shape[-1] == 1 < array.shape[1]:
        raise ExampleError(
            f"the beats have the shape {array.shape}: many leads of one sample.\n"
            "  try: [beat, time]: x[..., 0]"
        )
    if not array.size or array.shape[-1] < 2:
        raise ExampleError(
            f"the beats have the shape {array.shape}: nothing to see.\n"
            "  try: at least one beat, of at least two samples"
        )
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    if len(bad):
        shown = ", ".join(map(str, bad[:MOST_NAMED])) + ", ..." * (
            len(bad) > MOST_NAMED
        )
        raise NonFiniteError(
            f"{len(bad)} of {len(array)} beats hold NaN or infinite numbers: rows "
            f"{shown}.\n  try: x[np.isfinite(x).reshape(len(x), -1).all(axis=1)]"
        )
    return array


def _check_amplitudes(millivolts: Float32[np.ndarray, "beat lead time"]) -> None:
    """Raises `DataError` where amplitudes are beyond those of any ECG in mV."""
    largest = float(np.abs(millivolts).max())
    if largest > LARGEST_MV:
        raise DataError(
            f"amplitudes reach {largest:.6g} mV; no ECG does beyond {LARGEST_MV:g}.\n"
            "  why: they are likely in microvolts, or in ADC counts\n"
            "  try: x / 1000, if they are in microvolts"
        )
    if 0 < largest < SMALLEST_MV:
        raise DataError(
            f"amplitudes reach {largest:.6g} mV; over all its beats an ECG goes beyond "
            f"{SMALLEST_MV:g}.\n  why: they are likely in volts\n"
            "  try: x * 1000, if they are in volts"
        )


def _rate(value: Any) -> float:
    """The sample rate, if it is one."""
    number = isinstance(value, int | float | np.integer | np.floating)
    if not number or isinstance(value, bool) or not 0 < value < np.inf:
        raise DataError(
            f"sample_rate_hz is {value!r}.\n  try: samples a second, such as 100"
        )
    return float(value)


def _check_window(rate: float, time: int) -> None:
    """Raises `DataError` where a rate makes no window of a beat."""
    if rate >= SLOWEST_HZ and SHORTEST_S <= time / rate <= LONGEST_S:
        return
    raise DataError(
        f"sample_rate_hz is {rate:g}: {time:,} samples are then {time / rate:.6g} s.\n"
        f"  why: a beat is {SHORTEST_S:g} to {LONGEST_S:g} s of at least "
        f"{SLOWEST_HZ:g} samples a second\n"
        "  try: samples a second, such as 100, not seconds or milliseconds a sample"
    )


def _leads(leads: Any, num: int, time: int) -> tuple[str, ...]:
    """Names of the leads, one each; none of a single lead that has no name."""
    names = (leads,) if isinstance(leads, str) else tuple(map(str, leads))
    if not names and num == 1:
        return ()
    if len(names) != num and time <= min(num, MOST_LEADS):
        raise DataError(
            f"the beats are [beat, {num}, {time}], as if they had {num} leads of "
            f"{time} samples.\n  try: [beat, lead, time]: x.transpose(0, 2, 1)"
        )
    if len(names) != num:
        raise DataError(
            f"{len(names)} leads are named, {', '.join(names) or 'none'}; the beats "
            f"have {num}.\n  try: leads=(...), with {num} name{'s' * (num != 1)}"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(
            f"two leads are called {twice[0]!r}.\n  try: a name for each lead"
        )
    return names


def _r(r_peak_s: Any, rate: float, time: int) -> int:
    """The sample of R in the window."""
    number = isinstance(r_peak_s, int | float | np.integer | np.floating)
    if not number or not 0 <= r_peak_s <= (time - 1) / rate:
        raise DataError(
            f"r_peak_s is {r_peak_s!r}; the window goes from 0 to "
            f"{(time - 1) / rate:g} s.\n"
            "  try: seconds from the start of the window to R; None to detect it"
        )
    return round(r_peak_s * rate)


def _detect(lead: Float32[np.ndarray, "beat time"], rate: float) -> int:
    """The sample where R is in most beats.

    The steepest stretch of 60 ms in the median over the beats of `|dx/dt|`, then the
    largest median deflection from the beat's own median within 80 ms of its middle.
    """
    slope = np.median(np.abs(np.diff(lead, axis=1)), axis=0)
    width = max(1, round(SMOOTH_S * rate))
    steep = int(np.argmax(np.convolve(slope, np.ones(width), "same")))
    away = np.abs(lead - np.median(lead, axis=1, keepdims=True))
    deflection = np.median(away, axis=0)
    reach = max(1, round(AROUND_S * rate))
    start = max(0, steep - reach)
    return start + int(np.argmax(deflection[start : steep + reach + 2]))


def _labels(
    labels: Any, num: int, classes: Mapping[Any, str] | None
) -> tuple[np.ndarray, dict[str, str]]:
    """The name of every beat's label, and the classes of names."""
    if labels is None:
        if classes:
            raise DataError("classes of labels, but no labels.\n  try: labels=...")
        return np.full(num, "", "U1"), {}
    values = np.asarray(labels)
    if values.shape != (num,):
        raise DataError(
            f"labels have the shape {values.shape}; there are {num} beats.\n"
            "  try: one label for each beat"
        )
    told = _named(classes)
    names = np.array([_name(value) for value in values.tolist()], dtype=np.str_)
    if told and not set(told) & set(names.tolist()):
        labels_there = ", ".join(np.unique(names).tolist()[:MOST_NAMED])
        raise DataError(
            f"none of the labels is among the classes given, {', '.join(told)}.\n"
            f"  try: classes of these: {labels_there}"
        )
    if values.dtype.kind == "b" and not told:
        told = {_name(True): NORMAL}
    return names, classes_of(np.unique(names).tolist(), told)


def _named(classes: Mapping[Any, str] | None) -> dict[str, str]:
    """Classes by the names of labels."""
    return checked({_name(label): str(kind) for label, kind in (classes or {}).items()})


def _name(value: Any) -> str:
    """A label as a name; none where it is missing."""
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if missing else str(value)


def _records(records: Any, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The row of each beat's recording, and the names of the recordings."""
    if records is None:
        return np.arange(num, dtype=np.int32), np.arange(num).astype(np.str_)
    values = np.asarray(records)
    if values.shape != (num,):
        raise DataError(
            f"records have the shape {values.shape}; there are {num} beats.\n"
            "  try: the recording of each beat, by name or number"
        )
    named = np.array([_name(value) for value in values.tolist()], dtype=np.str_)
    names, rows = np.unique(named, return_inverse=True)
    return rows.astype(np.int32), names


def _table(
    names: np.ndarray,
    record: np.ndarray,
    millivolts: Float32[np.ndarray, "beat lead time"],
) -> RecordTable:
    """What little is known of the recordings."""
    num = len(names)
    unknown, none = np.full(num, np.nan, np.float32), np.zeros(num, np.int32)
    annotated = np.zeros((num, len(ANNOTATED)), np.int32)
    return RecordTable(
        name=names,
        label=np.full(num, "", "U1"),
        split=np.full(num, GIVEN),
        duration_s=unknown,
        bsqi=unknown,
        detector=np.full(num, "", "U1"),
        polarity=np.ones(num, np.int8),
        polarity_confidence=unknown,
        rate_bpm=unknown,
        scale_mv=np.ones((num, millivolts.shape[1]), np.float32),
        num_beats=np.bincount(record, minlength=num).astype(np.int32),
        num_cut=none,
        num_unmatched=none,
        num_annotated=annotated,
        num_without=annotated,
        leads=np.full(num, "", "U1"),
        others=np.full(num, "", "U1"),
        r_lead=none,
    )
