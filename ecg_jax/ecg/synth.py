"""Synthetic recordings: a data set with known morphology and no licence.

`synthesize` makes arrays (a thousand 30-second recordings a second on one core),
`SyntheticFolder` puts them behind the interface of `RecordingFolder`. The model is in
`mcsharry`, the morphologies in `waveforms`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int

from ecg_jax.ecg.records import Recording
from ecg_jax.ecg.waveforms import KINDS, Ecg, synthesize_one
from ecg_jax.errors import DataError, MissingFileError

LABEL_OF_KIND: Mapping[str, str] = MappingProxyType(
    {kind: "O" for kind in KINDS} | {"normal": "N", "af": "A", "noise": "~"}
)
MIXTURE = (
    *("normal",) * 9,
    *("af",) * 3,
    *("pvc",) * 3,
    "lbbb",
    "rbbb",
    "st_elevation",
    "inverted_t",
    "noise",
)
CITATION = (
    "McSharry, Clifford, Tarassenko, Smith, A dynamical model for generating synthetic "
    "electrocardiogram signals, IEEE Trans Biomed Eng 50(3), 2003"
)
CHUNK = 32  # recordings per call: one compiled program, so the bits never depend on it


@partial(jax.jit, static_argnames=("num_samples", "shortest", "sample_rate_hz"))
def _synthesize_chunk(seed: Array, index: Array, kind: Array, **static: Any) -> Ecg:
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 1)
    keys = jax.vmap(partial(jax.random.fold_in, key))(index)
    return jax.vmap(partial(synthesize_one, **static))(keys, kind)


@partial(jax.jit, static_argnames="size")
def _shuffle(seed: Array, blocks: Array, size: int) -> Array:
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 0)
    keys = jax.vmap(partial(jax.random.fold_in, key))(blocks)
    bits = jax.vmap(lambda key: jax.random.bits(key, (size,), jnp.uint32))(keys)
    return jnp.argsort(bits, axis=1)


def kinds_of(
    seed: int,
    num_recordings: int,
    *,
    start: int = 0,
    mixture: tuple[str, ...] = MIXTURE,
) -> tuple[str, ...]:
    """Kind of each recording: the mixture, shuffled anew in each block of its size.

    So every block of 20 holds 9 normal recordings, and a recording's kind depends on
    nothing but (seed, index).
    """
    size, stop = len(mixture), start + num_recordings
    blocks = np.arange(start // size, math.ceil(stop / size), dtype=np.uint32)
    order = np.asarray(_shuffle(_seed(seed), blocks, size)).reshape(-1)
    first = (start // size) * size
    return tuple(mixture[i] for i in order[start - first : stop - first])


def _seed(seed: int) -> np.uint32:
    if not 0 <= seed < 2**32:
        raise DataError(
            f"seed {seed}: out of range.\n  try: a number from 0 to 2**32 - 1"
        )
    return np.uint32(seed)


@dataclass(frozen=True, eq=False)
class Synthetic:
    """Synthetic recordings, padded to the longest; -1 is no such wave.

    Attributes:
        signal: Millivolts; of recording `i` the first `num_samples[i]` count.
        num_samples: Length of each.
        r: R peak of each beat (the fiducial point), in samples.
        p: P peak, -1 where there is none (AF, PVC) or it lies outside.
        t: T peak.
        beat_kind: Index into `KINDS`, -1 where there is no beat.
        inverted: Whether the electrodes were swapped.
        kinds: Kind of each recording.
        sample_rate_hz: Sampling rate.
    """

    signal: Float32[np.ndarray, "record time"]
    num_samples: Int[np.ndarray, " record"]
    r: Int[np.ndarray, "record beat"]
    p: Int[np.ndarray, "record beat"]
    t: Int[np.ndarray, "record beat"]
    beat_kind: Int[np.ndarray, "record beat"]
    inverted: Bool[np.ndarray, " record"]
    kinds: tuple[str, ...]
    sample_rate_hz: float


def synthesize(
    seed: int,
    num_recordings: int,
    *,
    start: int = 0,
    duration_s: float | tuple[float, float] = 30.0,
    sample_rate_hz: float = 300.0,
    mixture: tuple[str, ...] = MIXTURE,
) -> Synthetic:
    """Recordings `start ... start + num_recordings - 1` of an endless sequence.

    Same seed, same bits (on one machine); each recording depends on (seed, index) and
    the settings only.

    Args:
        seed: 0 to 2**32 - 1.
        num_recordings: How many.
        start: Index of the first.
        duration_s: Length in seconds, or the shortest and the longest.
        sample_rate_hz: Sampling rate.
        mixture: Kinds (of `KINDS`) in the proportions wanted.

    Raises:
        DataError: A setting is out of range.

    Example:
        >>> data = synthesize(0, 2, duration_s=10.0, mixture=("normal",))
        >>> data.signal.shape, data.kinds
        ((2, 3000), ('normal', 'normal'))
    """
    low, high = duration_s if isinstance(duration_s, tuple) else (duration_s,) * 2
    if not (2.0 <= low <= high <= 600.0 and 50.0 <= sample_rate_hz <= 5000.0):
        raise DataError(
            f"synthetic recordings of {low} to {high} s at {sample_rate_hz} Hz: out of "
            "range.\n"
            "  try: 2 to 600 s at 50 to 5000 Hz"
        )
    if wrong := [kind for kind in mixture if kind not in KINDS]:
        raise DataError(f"unknown kind {wrong[0]!r}.\n  try: one of {', '.join(KINDS)}")
    if num_recordings < 1 or start < 0 or not mixture:
        raise DataError(
            f"{num_recordings} recordings from {start} on.\n  try: at least 1"
        )
    kinds = kinds_of(seed, num_recordings, start=start, mixture=mixture)
    codes = np.array([KINDS.index(kind) for kind in kinds], np.int32)
    parts: list[list[np.ndarray]] = []
    for first in range(0, num_recordings, CHUNK):
        code = np.zeros(CHUNK, np.int32)
        here = codes[first : first + CHUNK]
        code[: len(here)] = here
        chunk = _synthesize_chunk(
            _seed(seed),
            np.arange(CHUNK, dtype=np.uint32) + np.uint32(start + first),
            code,
            num_samples=round(high * sample_rate_hz),
            shortest=round(low * sample_rate_hz),
            sample_rate_hz=float(sample_rate_hz),
        )
        parts.append([np.asarray(part)[: len(here)] for part in chunk])
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Synthetic(*columns, kinds=kinds, sample_rate_hz=float(sample_rate_hz))


@lru_cache(maxsize=8)
def _cached(start: int, count: int, folder: "SyntheticFolder") -> Synthetic:
    return synthesize(
        folder.seed,
        count,
        start=start,
        duration_s=folder.duration_s,
        sample_rate_hz=folder.sample_rate_hz,
        mixture=folder.mixture,
    )


@dataclass(frozen=True)
class SyntheticFolder:
    """Synthetic recordings behind the interface of `RecordingFolder`.

    Labels are those of CinC 2017 and belong to recordings (so most beats of a
    recording with PVCs look normal); `Recording.beat_kinds` holds the truth.

    Attributes:
        seed: 0 to 2**32 - 1.
        num_recordings: How many.
        duration_s: Length in seconds, or the shortest and the longest.
        sample_rate_hz: Sampling rate.
        mixture: Kinds (of `KINDS`) in the proportions wanted.

    Example:
        >>> folder = SyntheticFolder(num_recordings=20)
        >>> recording = folder.read("S00007")
        >>> recording.signal.shape, recording.label == folder.labels["S00007"]
        ((1, 9000), True)
    """

    seed: int = 0
    num_recordings: int = 300
    duration_s: float | tuple[float, float] = 30.0
    sample_rate_hz: float = 300.0
    mixture: tuple[str, ...] = MIXTURE

    @property
    def title(self) -> str:
        """What the data set is called."""
        return f"{self.num_recordings} synthetic recordings (ECGSYN, seed {self.seed})"

    @property
    def citation(self) -> str:
        """What to cite."""
        return CITATION

    @cached_property
    def names(self) -> tuple[str, ...]:
        """`S00000`, `S00001`, ..."""
        return tuple(f"S{i:05d}" for i in range(self.num_recordings))

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """True kind of each recording, one of `KINDS`."""
        kinds = kinds_of(self.seed, self.num_recordings, mixture=self.mixture)
        return MappingProxyType(dict(zip(self.names, kinds, strict=True)))

    @cached_property
    def labels(self) -> Mapping[str, str | None]:
        """Label of each recording: N, A, O or ~."""
        return MappingProxyType({n: LABEL_OF_KIND[k] for n, k in self.kinds.items()})

    @property
    def excluded(self) -> Mapping[str, str]:
        """Nothing is left out."""
        return MappingProxyType({})

    def read(self, name: str) -> Recording:
        """One recording (a whole chunk is made and kept, so neighbours are free).

        Raises:
            MissingFileError: There is no such recording.
        """
        if name not in self.kinds:
            raise MissingFileError(
                f"{self.title}: no recording {name!r}.\n"
                f"  try: {self.names[0]} to {self.names[-1]}"
            )
        start, row = divmod(int(name[1:]), CHUNK)
        start *= CHUNK
        chunk = _cached(start, min(CHUNK, self.num_recordings - start), self)
        beats = chunk.r[row] >= 0
        return Recording(
            name=name,
            signal=chunk.signal[row : row + 1, : chunk.num_samples[row]].copy(),
            sample_rate_hz=chunk.sample_rate_hz,
            label=self.labels[name],
            beat_samples=chunk.r[row, beats],
            beat_kinds=tuple(KINDS[k] for k in chunk.beat_kind[row, beats]),
        )
