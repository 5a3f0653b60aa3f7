"""A sketch in words: what is measured of a cell, and no more."""

from ecg_jax.cells.lead_words import MIXED, long_shape, short_shape
from ecg_jax.cells.sketch import UNLABELLED, Sketch
from ecg_jax.percent import percent

EARLY, LATE = 0.85, 1.15
LARGE_SHARE = 0.5
NOISY = "noisy beats, not measured"


def describe(
    sketch: Sketch, *, share: float | None = None, answer: str | None = None
) -> str:
    """One sentence on a sketch, written only from what was measured.

    Args:
        sketch: Composite ECG of a cell.
        share: Share of the answers of this kind that the cell stands for.
        answer: The answer, such as "normal"; goes with `share`.

    Returns:
        For example "Narrow QRS (about 90 ms), R 1.1 mV, ST level 0.02 mV, upright T
        (0.20 mV), RR 0.80 s before (75 a minute), 0.81 s after; 41% of normal answers;
        3,120 beats of 412 recordings, at most 2% of one; bSQI 0.98; labels N 71%,
        O 20%, A 9%." Of several leads each is named.
    """
    shape = [*long_shape(sketch), *_rhythm_words(sketch)]
    if sketch.is_mixed:
        shape = [_mixed(sketch)]
    parts = [", ".join(shape)]
    if share is not None and answer is not None:
        parts.append(f"{percent(share)} of {answer} answers")
    of = f" of {records(sketch)}" if sketch.num_records else ""
    parts.append(f"{_count(sketch.num_beats, 'beat')}{of}")
    if sketch.quality is not None:
        parts.append(f"bSQI {sketch.quality:.2f}")
    shown = sorted(sketch.label_share.items(), key=lambda item: -item[1])
    if [name for name, _ in shown] != [UNLABELLED]:
        parts.append("labels " + ", ".join(f"{k} {percent(v)}" for k, v in shown))
    sentence = "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:]


def phrase(sketch: Sketch) -> str:
    """A few words: "narrow QRS, R 1.1 mV, upright T 0.20 mV, rate 60-90".

    The rate is that of the middle 80% of the RR intervals before the beats.
    """
    if sketch.is_mixed:
        return _mixed(sketch)
    words = short_shape(sketch)
    if sketch.rr_band_s is not None:
        short, long = sketch.rr_band_s
        slow, fast = (5 * round(12 / rr) for rr in (long, short))
        words.append(f"rate {slow}-{fast}" if slow < fast else f"rate {slow}")
    if _is_early(sketch):
        words.append("early")
    elif _has_pause(sketch):
        words.append("a pause after")
    return ", ".join(words)


def records(sketch: Sketch) -> str:
    """How many recordings, and how much of the cell one of them is.

    Returns:
        "412 recordings, at most 2% of one", or "3 recordings, 98% from 119"; nothing
        where it is not known.
    """
    if not sketch.num_records:
        return ""
    words = _count(sketch.num_records, "recording")
    if sketch.num_records == 1:
        return words
    share = percent(sketch.main_share)
    if sketch.main_share > LARGE_SHARE:
        return f"{words}, {share} from {sketch.main_record}"
    return f"{words}, at most {share} of one"


def _mixed(sketch: Sketch) -> str:
    return NOISY if sketch.is_unsure else MIXED


def _rhythm_words(sketch: Sketch) -> list[str]:
    """The RR intervals, and whether the beats are early or a pause follows."""
    rr, after, usual = sketch.rr_before_s, sketch.rr_after_s, sketch.rr_usual_s
    if rr is None:
        return []
    early = f"early (usual RR {usual:.2f} s): " if _is_early(sketch) else ""
    words = f"{early}RR {rr:.2f} s before"
    if not early:
        words += f" ({60 / rr:.0f} a minute)"
    if after is not None:
        words += f", {after:.2f} s after"
        words += ", a pause" if _has_pause(sketch) else ""
    return [words]


def _is_early(sketch: Sketch) -> bool:
    return sketch.before_to_usual is not None and sketch.before_to_usual < EARLY


def _has_pause(sketch: Sketch) -> bool:
    return sketch.after_to_usual is not None and sketch.after_to_usual > LATE


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
