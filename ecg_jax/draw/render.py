"""Figures to bytes: SVG and PNG, small, and the same each time."""

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_jax.storage.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHART_INK = "#010203"
CHART_SIDES = {"normal": "#0069a9", "not normal": "#c8500b"}
_PAGE_COLORS = {
    CHART_INK: "currentColor",
    CHART_SIDES["normal"]: "var(--normal, #0069a8)",
    CHART_SIDES["not normal"]: "var(--other, #c8500a)",
}
FONTS = "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ID = re.compile(r"(?<= id=\")|(?<=url\(#)|(?<=href=\"#)(?=[mp][0-9a-f]{10}\")")
_TOKEN = re.compile(r"[A-Za-z]|-?[\d.]+(?:e-?\d+)?")


def svg(figure: "Figure") -> str:
    """Render a figure as a compact SVG: no dates, no fonts, ids by its content.

    A page holds many figures, and a browser that skips one of them off the screen must
    not lose what another one refers to.

    Charts, which have no paper, take ink and the colors of the sides from the page they
    stand in, light or dark.
    """
    import matplotlib

    out = io.BytesIO()
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "ecg_jax"}
    with matplotlib.rc_context(settings), _any_letter():
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _compact(out.getvalue().decode("utf-8"))


def png(figure: "Figure", *, dpi: int = 160) -> bytes:
    """Render a figure as PNG."""
    out = io.BytesIO()
    with _any_letter():
        figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()


def save(figure: "Figure", path: Path | str) -> Path:
    """Write a figure to a .svg or .png file: all of it or nothing.

    Raises:
        ValueError: The suffix is another one.
        DiskFullError: No space is left.
    """
    path = Path(path)
    if path.suffix not in (".svg", ".png"):
        raise ValueError(
            f"cannot save a figure as {path}\n"
            f"  why:  the suffix is {path.suffix!r}\n"
            "  try:  .svg or .png"
        )
    as_svg = path.suffix == ".svg"
    write_atomic(path, svg(figure).encode() if as_svg else png(figure))
    return path


@contextmanager
def _any_letter() -> Iterator[None]:
    """A name may hold letters that the font lacks: the browser has them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _compact(text: str) -> str:
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text[text.index("<svg") :])
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = text.replace("<svg", '<svg stroke-linejoin="round"', 1)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r' d="([^"]*)"', lambda m: f' d="{_path(m[1])}"', text)
    text = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", _font, text)
    for color, words in _PAGE_COLORS.items():
        text = text.replace(color, words)
    tag = f"{zlib.crc32(text.encode()):x}-"
    text = _ID.sub(lambda m: m[0] + tag, text)
    text = re.sub(r' xmlns:xlink="[^"]*"', "", text).replace("xlink:href", "href")
    text = text.replace(' target="_blank"', "")
    text = re.sub(r">\s+<(?!/text|/tspan)", "><", text)
    return re.sub(r"(<g>)+(</g>)+", _empty, text)


def _font(found: re.Match[str]) -> str:
    return found[1] + FONTS


def _empty(found: re.Match[str]) -> str:
    opened, closed = found[0].count("<g>"), found[0].count("</g>")
    both = min(opened, closed)
    return "<g>" * (opened - both) + "</g>" * (closed - both)


def _path(data: str) -> str:
    """Write a path in tenths of a point, relative where it is made of lines."""
    tokens = _TOKEN.findall(data)
    letters = {token for token in tokens if token.isalpha()}
    if not letters <= {"M", "L", "z"}:
        return " ".join(t if t.isalpha() else _tenths(t) for t in tokens)
    out: list[str] = []
    here = start = (0, 0)
    command, last, at = "", "", 0
    while at < len(tokens):
        if tokens[at].isalpha():
            command, at = tokens[at], at + 1
            if command == "z":
                out.append("z")
                here, last = start, "z"
                continue
        there = (round(10 * float(tokens[at])), round(10 * float(tokens[at + 1])))
        at += 2
        x, y = there[0] - here[0], there[1] - here[1]
        here = there
        if command == "M":
            out.append(f"m{_number(x)} {_number(y)}")
            start, command, last = there, "L", "l"
        elif x and y:
            out.append(f"{' ' if last == 'l' else 'l'}{_number(x)} {_number(y)}")
            last = "l"
        else:
            new = "v" if y else "h"
            out.append(f"{' ' if last == new else new}{_number(x or y)}")
            last = new
    return "".join(out).replace(" -", "-")


def _tenths(text: str) -> str:
    return _number(round(10 * float(text)))


def _number(tenths: int) -> str:
    whole, rest = divmod(abs(tenths), 10)
    text = f"{whole or ''}.{rest}" if rest else f"{whole}"
    return "-" + text if tenths < 0 else text
