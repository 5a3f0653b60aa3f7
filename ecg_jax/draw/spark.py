"""A beat over its prototype, as small as a line of a table."""

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.paper import PROTOTYPE, SIDE_COLORS

MOST_POINTS = 130


def spark(
    beat: Float[np.ndarray, " time"],
    prototype: Float[np.ndarray, " time"] | None,
    *,
    side: str,
    width: int = 130,
    height: int = 44,
) -> str:
    """Draw a beat (solid) over its prototype (dashed), both on one scale.

    Args:
        beat: In mV.
        prototype: In mV, as long as the beat; `None` to draw the beat alone.
        side: "normal" or "not normal": the color of the beat.
        width: In pixels.
        height: In pixels.

    Returns:
        An SVG element of its own.
    """
    both = [beat] if prototype is None else [prototype, beat]
    low = min(float(np.min(line)) for line in both)
    size = max(max(float(np.max(line)) for line in both) - low, 1e-6)
    step = max(1, -(-len(beat) // MOST_POINTS))
    paths = []
    for line in both:
        y = height - 2 - (height - 4) * (np.asarray(line, float)[::step] - low) / size
        x = np.linspace(1, width - 1, len(y))
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
        style = f'stroke="{SIDE_COLORS[side]}" stroke-width="1.3"'
        if line is prototype:
            style = f'stroke="{PROTOTYPE}" stroke-width="1.1" stroke-dasharray="3 2"'
        paths.append(f'<polyline fill="none" {style} points="{points}"/>')
    label = "beat" if prototype is None else "beat over its prototype"
    return (
        f'<svg class="spark" role="img" aria-label="{label}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{"".join(paths)}</svg>'
    )
