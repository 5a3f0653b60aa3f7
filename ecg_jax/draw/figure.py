"""A figure that shows itself in a notebook, whether or not pyplot was imported."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ecg_jax.draw.render import png


class Shown(Figure):
    """A figure that no global state knows; a notebook shows it as PNG."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=100)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return png(self, dpi=100)
