"""The shape of a beat of several leads in words, as a reader of ECGs tells it.

Of two or three leads each is told by itself; of more, finding by finding, with the
leads that show it: "T inverted in aVR, V1".
"""

from collections.abc import Callable, Sequence

import numpy as np

from ecg_jax.cells.leads import FEW, listed
from ecg_jax.cells.morphology import (
    SHIFTED_ST_MV,
    Morphology,
    shape_words,
    short_words,
    width_class,
)
from ecg_jax.cells.sketch import Sketch

MIXED = "beats too different to measure"


def long_shape(sketch: Sketch) -> list[str]:
    """What was measured, with numbers.

    Returns:
        Of one lead `shape_words`; of two such as "in MLII narrow QRS (about 90 ms)",
        "R 1.1 mV", "in V1 mostly negative (-0.90 mV)"; of more such as "narrow QRS
        (about 90 ms)", "mostly negative in aVR, V1", "ST raised in V2 (0.15 mV)".
    """
    if len(sketch.leads) > FEW:
        return _by_finding(sketch, numbers=True)
    return _by_lead(sketch, shape_words)


def short_shape(sketch: Sketch) -> list[str]:
    """The same in fewer words."""
    if len(sketch.leads) > FEW:
        return _by_finding(sketch, numbers=False)
    return _by_lead(sketch, short_words)


def _by_lead(sketch: Sketch, told: Callable[[Morphology], list[str]]) -> list[str]:
    if len(sketch.leads) == 1:
        return told(sketch.shapes[0])
    out = []
    for one in sketch.each_lead:
        first, *rest = [MIXED] if one.is_mixed else told(one.shapes[0])
        out += [f"in {one.leads[0]} {first}", *rest]
    return out


def _by_finding(sketch: Sketch, *, numbers: bool) -> list[str]:
    """Findings, each with the leads that show it, in the order P to T."""
    found = list(zip(sketch.leads, sketch.shapes, strict=True))
    known = [(name, shape) for name, shape in found if shape.qrs_ms is not None]
    if not known:
        return ["no QRS with clear edges"]
    words = [_width([shape for _, shape in known], numbers)]
    down = [name for name, shape in known if (shape.r_mv or 0) < 0]
    if down:
        words.append(f"mostly negative in {listed(down)}")
    shifts = {
        name: shape.st_mv
        for name, shape in known
        if shape.clear and shape.st_mv and abs(shape.st_mv) >= SHIFTED_ST_MV
    }
    for moved, sign in (("raised", 1), ("lowered", -1)):
        own = {name: st for name, st in shifts.items() if sign * st > 0}
        if own and numbers:
            each = [f"{name} ({abs(st):.2f} mV)" for name, st in own.items()]
            words.append(f"ST {moved} in {', '.join(each)}")
        elif own:
            words.append(f"ST {moved} in {listed(list(own))}")
    for kind in ("inverted", "flat"):
        own = [name for name, shape in known if shape.t_polarity == kind]
        if own:
            words.append(f"{kind} T in {listed(own)}")
    lost = [one.leads[0] for one in sketch.each_lead if one.is_mixed]
    if lost and numbers:
        words.append(f"{MIXED} in {listed(lost)}")
    return words


def _width(shapes: Sequence[Morphology], numbers: bool) -> str:
    """The QRS width: the median over the leads in which its end is clear."""
    clear = [s.qrs_ms for s in shapes if s.clear and s.qrs_ms is not None]
    if not clear:
        return "QRS width not clear"
    width = float(np.median(clear))
    kind = width_class(width)
    words = "QRS of middling width" if kind == "middling" else f"{kind} QRS"
    if not numbers:
        return words
    of = f"{len(clear)} lead{'s' * (len(clear) != 1)}"
    return f"{words} (about {round(width, -1):.0f} ms, median of {of})"
