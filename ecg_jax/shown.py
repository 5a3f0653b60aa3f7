"""What objects show in a notebook: tables, lists, a line. Static, and escaped."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from jaxtyping import Float

LEFT = 'style="text-align:left"'
MOST_POINTS = 130
MOST_LEADS = 3
WIDTH, HEIGHT = 130, 32


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], title: str = ""
) -> str:
    """An HTML table of texts and numbers.

    Example:
      >>> table(["side"], [["<1"]], title="A & B").count("&")
      2
    """

    def row(tag: str, cells: Sequence[object]) -> str:
        inner = "".join(f"<{tag} {LEFT}>{escape(str(c))}</{tag}>" for c in cells)
        return f"<tr>{inner}</tr>"

    above = f"<caption {LEFT}>{escape(title)}</caption>" if title else ""
    body = "".join(row("td", cells) for cells in rows)
    return (
        f"<table>{above}<thead>{row('th', head)}</thead><tbody>{body}</tbody></table>"
    )


def polyline(values: object) -> str:
    """An inline SVG of a signal `[time]`, or of `[lead, time]`, three leads at most.

    Empty where it is no such thing, so not worth a picture.
    """
    signal = np.asarray(values)
    if signal.ndim not in (1, 2) or signal.shape[-1] < 2 or not signal.size:
        return ""
    if not np.issubdtype(signal.dtype, np.floating) or not np.isfinite(signal).all():
        return ""
    rows = signal.reshape(-1, signal.shape[-1])[:MOST_LEADS].astype(float)
    lines = []
    for foot, row in enumerate(rows[:, :: max(1, -(-rows.shape[1] // MOST_POINTS))], 1):
        size = np.ptp(row) or 1.0
        down = HEIGHT * foot - 2 - (HEIGHT - 4) * (row - row.min()) / size
        across = np.linspace(1, WIDTH - 1, len(row))
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(across, down, strict=True))
        lines.append(f'<polyline fill="none" stroke="currentColor" points="{points}"/>')
    high = HEIGHT * len(rows)
    return (
        f'<svg role="img" aria-label="prototype" width="{WIDTH}" height="{high}" '
        f'viewBox="0 0 {WIDTH} {high}" style="vertical-align:middle">'
        f"{''.join(lines)}</svg>"
    )


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Float[np.ndarray, " time"], width: int = 26) -> str:
    """A wave as a line of blocks: of every stretch what is farthest from the median.

    Example:
      >>> sparkline(np.array([0.0, 0, 1, 0, 0, 0.5, 0, 0]), 8)
      '▁▁█▁▁▅▁▁'
    """
    middle = float(np.median(values))
    parts = np.array_split(values, min(width, len(values)))
    kept = np.array([part[np.abs(part - middle).argmax()] for part in parts])
    spread = float(np.ptp(kept)) or 1.0
    level = np.rint((kept - kept.min()) / spread * (len(BLOCKS) - 1)).astype(int)
    return "".join(BLOCKS[i] for i in level)
