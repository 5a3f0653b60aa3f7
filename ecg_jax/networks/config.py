"""Shape of a network."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxtyping import ArrayLike, Float

from ecg_jax.errors import ModelError

Kind = Literal["mlp", "authors", "resnet", "templates"]
Form = Literal["free", "max-min", "prototypes", "metric"]

Training = Float[ArrayLike, ""] | None
"""In training, the share of it that is done, 0 to 1; None where a network is used."""


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of a network; the defaults were chosen in experiments/networks.

    Attributes:
        kind: `mlp` (dense layers with ReLU), `authors` (the encoder and decoder of
            Snyder and Vishwanath, 2020), `resnet` (a residual 1-D CNN) or `templates`
            (a max-min of affine functions of the beat: see `networks.templates`).
        num_leads: leads of the input; `ecg-jax run` takes them from the beats.
        num_samples: samples of the input window, a lead; likewise.
        widths: hidden layers of the `mlp`; those of the head of the `resnet` (one of
            16 is enough there).
        bottleneck: units between encoder and decoder of `authors`.
        decoder: hidden layers of the decoder of `authors`.
        channels: channels of each stage of the `resnet`; a stage halves the time axis.
        blocks: residual blocks in a stage of the `resnet`.
        kernel: samples of a `resnet` kernel.
        stride: of the first convolution of the `resnet`.
        dropout: share of units dropped before the last hidden layers, training only.
        form: of `templates`: `free` (the largest for "normal" less the largest for
            "not normal"), `max-min` (the largest of smallest), `prototypes` (free
            ones that differ by squared distances) or `metric` (likewise, distances in
            a learned linear metric).
        templates: how many for "normal", and as many for "not normal"; groups of the
            `max-min`.
        group: templates in a group of the `max-min`.
        length: samples of a `free` or `max-min` template, 0 for the whole window; a
            shorter one is laid at every place and counts where it fits best.
        smoothness: what a rough template costs in training.
        stiffness: what a `metric` costs that differs from the plain distance.
    """

    kind: Kind = "mlp"
    num_leads: int = 1
    num_samples: int = 65
    widths: tuple[int, ...] = (256, 64, 16)
    bottleneck: int = 5
    decoder: tuple[int, ...] = (5, 5, 10)
    channels: tuple[int, ...] = (16, 32, 32, 64)
    blocks: int = 1
    kernel: int = 7
    stride: int = 1
    dropout: float = 0.3
    form: Form = "free"
    templates: int = 16
    group: int = 8
    length: int = 0
    smoothness: float = 0.003
    stiffness: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a shape that no network has."""
        sizes = {
            "num_leads": (self.num_leads,),
            "num_samples": (self.num_samples,),
            "widths": self.widths,
            "bottleneck": (self.bottleneck,),
            "decoder": self.decoder,
            "channels": self.channels,
            "blocks": (self.blocks,),
            "kernel": (self.kernel,),
            "stride": (self.stride,),
            "templates": (self.templates,),
            "group": (self.group,),
        }
        wrong = [
            f"  {name}: {value} is not made of positive whole numbers"
            for name, value in sizes.items()
            if any(type(size) is not int or size < 1 for size in value)
        ]
        for name, known in (("kind", Kind), ("form", Form)):
            value = getattr(self, name)
            if value not in get_args(known):
                wrong.append(
                    f"  {name}: {value!r} is none of {', '.join(get_args(known))}"
                )
        if not 0.0 <= self.dropout < 1.0:
            wrong.append(f"  dropout: {self.dropout} is not in [0, 1)")
        for name in ("smoothness", "stiffness"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                wrong.append(f"  {name}: {value} is not finite, 0 or more")
        if self.kind == "mlp" and not self.widths:
            wrong.append("  widths: without a hidden layer there is nothing to factor")
        if self.kind == "resnet" and not self.channels:
            wrong.append("  channels: a resnet needs one stage at least")
        if self.kind == "templates":
            wrong += self._wrong_templates()
        if wrong:
            raise ModelError("this network cannot be built:\n" + "\n".join(wrong))

    def _wrong_templates(self) -> list[str]:
        """What is wrong with the numbers of templates."""
        wrong = []
        if self.templates == 1 and self.form != "max-min":
            wrong.append(
                "  templates: one a side is an affine function, so there is nothing to "
                "factor"
            )
        if self.templates == self.group == 1 and self.form == "max-min":
            wrong.append("  group: one group of one is an affine function")
        if type(self.length) is not int or self.length < 0:
            wrong.append(f"  length: {self.length} is no whole number from 0 up")
        if self.length and self.form in ("prototypes", "metric"):
            wrong.append(
                f"  length: {self.form} are compared with whole windows, for squared "
                "distances at several places are not affine"
            )
        return wrong
