"""A beat over its prototype, as small as a line of a table."""

from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.paper import PROTOTYPE, SIDE_COLORS

MOST_POINTS = 130


def spark(
    beat: Float[np.ndarray, "lead time"],
    prototype: Float[np.ndarray, "lead time"] | None,
    *,
    side: str,
    leads: Sequence[str] = ("",),
    width: int = 130,
    height: int = 44,
) -> str:
    """Draw a beat (solid) over its prototype (dashed), both on one scale.

    Leads stand below one another, each on a scale of its own, with their names.

    Args:
        beat: In mV.
        prototype: In mV, as long as the beat; `None` to draw the beat alone.
        side: "normal" or "not normal": the color of the beat.
        leads: Names of the leads.
        width: In pixels.
        height: Of a lead, in pixels.

    Returns:
        An SVG element of its own.
    """
    waves = [beat] if prototype is None else [prototype, beat]
    step = max(1, -(-beat.shape[-1] // MOST_POINTS))
    drawn = []
    for k, name in enumerate(leads):
        both = [np.asarray(wave[k], float) for wave in waves]
        low = min(float(line.min()) for line in both)
        size = max(max(float(line.max()) for line in both) - low, 1e-6)
        foot = height * (k + 1) - 2
        for line, whose in zip(both, waves, strict=True):
            y = foot - (height - 4) * (line[::step] - low) / size
            x = np.linspace(1, width - 1, len(y))
            points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
            style = f'stroke="{SIDE_COLORS[side]}" stroke-width="1.3"'
            if whose is prototype:
                style = (
                    f'stroke="{PROTOTYPE}" stroke-width="1.1" stroke-dasharray="3 2"'
                )
            drawn.append(f'<polyline fill="none" {style} points="{points}"/>')
        if len(leads) > 1:
            at = f'x="1" y="{height * k + 9}"'
            drawn.append(f'<text {at} font-size="9">{escape(name)}</text>')
    label = "beat" if prototype is None else "beat over its prototype"
    label += f", leads {', '.join(leads)}" if len(leads) > 1 else ""
    whole = height * len(leads)
    return (
        f'<svg class="spark" role="img" aria-label="{escape(label)}" width="{width}" '
        f'height="{whole}" viewBox="0 0 {width} {whole}">{"".join(drawn)}</svg>'
    )
