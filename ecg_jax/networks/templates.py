"""A network that is its own equation: max and min of a few affine templates.

    f(x) = max_k a_k(x) - max_j b_j(x)        or        f(x) = max_k min_j a_kj(x)

with `a(x) = <t, x> + c`, each `t` a waveform. Nothing is left alive where one template
on either side is chosen: every component is affine, every witness concave. Where a
template is shorter than the window, `a` is its largest value over all places.

Prototypes `p` are templates `t = s G p`, `c = -s <p, G p> / 2 + o`: as the term
`s <x, G x> / 2` cancels, `f` compares the squared distances `<x - p, G (x - p)>` to the
nearest prototype of either side, `G` the identity or a learned metric `I + W^T W`.

Source: T. Kohonen, Self-Organizing Maps, 1995 (learning vector quantization); the forms
max - max and max of mins: S. Wang, General constructive representations for continuous
piecewise-linear functions, 2004.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ecg_jax.errors import DataError, ModelError
from ecg_jax.networks.config import NetworkConfig, Training
from ecg_jax.statistics.cluster import kmeans, nearest

SIDES = ("normal", "other")

REAL = jnp.float32

AnyArray = Array | np.ndarray

RANK = 64
"""Rows of `W` in a learned metric, at most."""

SAMPLE = 20_000
"""Beats of either side, at most, that templates start from."""

CONTRAST = 2.0
"""Standard deviation of the margins that a training starts from."""


class Templates(nn.Module):
    """Max and min of affine templates; see the module for the forms.

    In training the largest value is `T logsumexp(a / T)`, so that every template is
    drawn to some beats first; `T` falls from 1 to 0 with the fourth power of what is
    left.
    What a rough template and a metric cost is sown as `penalty`.
    """

    config: NetworkConfig

    @nn.compact
    def __call__(
        self,
        x: Float[AnyArray, "*batch lead time"],
        training: Training = None,
    ) -> Float[Array, "*batch"]:
        """Logits `[...]` of windows `[..., lead, time]`."""
        config = self.config
        heat = None if training is None else _heat(jnp.asarray(training))
        if config.form == "max-min":
            shape = (config.templates, config.group)
            values = _laid(x, *self._free("all", shape, training))
            values = _largest(values, heat, -1) if config.length else values[..., 0]
            return _largest(-_largest(-values, heat, -1), heat, -1)
        if config.form == "free":
            shape = (config.templates,)
            sides = [self._free(side, shape, training) for side in SIDES]
        else:
            sides = self._prototypes(training)
        normal, other = (_laid(x, *side) for side in sides)
        return _largest(normal, heat, (-2, -1)) - _largest(other, heat, (-2, -1))

    def _free(
        self, name: str, shape: tuple[int, ...], training: Training
    ) -> tuple[AnyArray, AnyArray]:
        """Templates `[*shape, lead, time]` and offsets `[*shape]`, each by itself."""
        config, leads = self.config, self.config.num_leads
        length = config.length or config.num_samples
        if length > config.num_samples:
            raise ModelError(
                f"a template of {length} samples for windows of {config.num_samples}.\n"
                "  try: a shorter template (length), 0 for the whole window"
            )
        begin = nn.initializers.normal(1 / np.sqrt(leads * length))
        t = self.param(f"{name}_templates", begin, (*shape, leads, length), REAL)
        offset = self.param(
            f"{name}_offsets", nn.initializers.zeros_init(), shape, REAL
        )
        self._rough(name, t, training)
        return t, offset

    def _prototypes(self, training: Training) -> list[tuple[Array, Array]]:
        """Of either side: templates that compare squared distances, and offsets.

        Trained is `sqrt(s) p`, for a step of it moves the margin alike at every `s`.
        """
        config = self.config
        window = (config.num_leads, config.num_samples)
        count, size = config.templates, config.num_leads * config.num_samples
        zeros, normal = nn.initializers.zeros_init(), nn.initializers.normal
        root = jnp.exp(self.param("log_scale", zeros, (), REAL) / 2)
        rows = None
        if config.form == "metric":
            begin = normal(1 / np.sqrt(size))
            rows = self.param("metric", begin, (min(RANK, size), *window), REAL)
            if training is not None:
                cost = config.stiffness * jnp.sum(jnp.square(rows))
                self.sow("penalty", "stiffness", cost)
        sides = []
        for name in SIDES:
            p = self.param(f"{name}_prototypes", normal(1.0), (count, *window), REAL)
            offset = self.param(f"{name}_offsets", zeros, (count,), REAL)
            t = p
            if rows is not None:
                t = t + jnp.tensordot(jnp.tensordot(p, rows, ((1, 2), (1, 2))), rows, 1)
            offset = offset - jnp.sum(p * t, axis=(-2, -1)) / 2
            t = root * t
            self._rough(name, t, training)
            sides.append((t, offset))
        return sides

    def _rough(self, name: str, t: AnyArray, training: Training) -> None:
        """Sows the sum of squared second differences of the templates."""
        if training is not None:
            rough = jnp.sum(jnp.square(jnp.diff(t, 2)))
            self.sow("penalty", name, self.config.smoothness * rough)


def _laid(
    x: Float[AnyArray, "*batch lead time"],
    templates: Float[AnyArray, "*count lead length"],
    offsets: Float[AnyArray, "*count"],
) -> Float[Array, "..."]:
    """`<t, x> + c`, `[*batch, *count, place]`: a template at every place it fits."""
    x, batch = jnp.asarray(x), x.shape[:-2]
    offsets = offsets.reshape((1,) * len(batch) + offsets.shape)
    if templates.shape[-1] == x.shape[-1]:
        axes = ((x.ndim - 2, x.ndim - 1), (templates.ndim - 2, templates.ndim - 1))
        return (jnp.tensordot(x, templates, axes) + offsets)[..., None]
    count = templates.shape[:-2]
    flat = jnp.asarray(templates).reshape(-1, *templates.shape[-2:])
    found = lax.conv_general_dilated(x.reshape(-1, *x.shape[-2:]), flat, (1,), "VALID")
    return found.reshape(*batch, *count, -1) + offsets[..., None]


def _heat(training: Array) -> Array:
    """The temperature `T` of a training of which a share is done."""
    return (1 - training) ** 4


def _largest(values: Array, heat: Array | None, axes: int | tuple[int, ...]) -> Array:
    """The largest value; in training a softer one, that all of them have part in."""
    if heat is None:
        return jnp.max(values, axis=axes)
    heat = jnp.maximum(heat, 1e-3).astype(values.dtype)
    return heat * jax.nn.logsumexp(values / heat, axis=axes)


def begin(
    config: NetworkConfig,
    x: Float[np.ndarray, "beat lead time"],
    y: Float[np.ndarray, " beat"],
    params: dict[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """Parameters that a training starts from: means of clusters of either label.

    Args:
        config: the network's shape.
        x: windows of training beats.
        y: above .5 for normal.
        params: freshly initialised ones; what is no template, prototype, offset or
            scale is kept.
        seed: of the clusters.

    Returns:
        Parameters of the same structure.

    Raises:
        DataError: a side has fewer beats than templates.
    """
    rng = np.random.default_rng(seed)
    flat = np.asarray(x, np.float32).reshape(len(x), -1)
    is_normal = np.asarray(y) > 0.5
    counts = (config.templates, config.templates)
    if config.form == "max-min":
        counts = (config.templates, config.group)
    parts, centres = [], []
    for name, mine, count in zip(SIDES, (is_normal, ~is_normal), counts, strict=True):
        rows = np.flatnonzero(mine)
        if len(rows) < count:
            side = "normal" if name == SIDES[0] else "not normal"
            raise DataError(
                f"{count} templates for {len(rows)} {side} training beats.\n"
                "  try: fewer templates, or more recordings"
            )
        part = flat[rng.permutation(rows)[:SAMPLE]]
        parts.append(part)
        centres.append(kmeans(part, count, seed=seed))
    near = [_distance(np.concatenate(parts), c) for c in centres]
    scale = 2 * CONTRAST / max(float(np.std(near[1] - near[0])), 1e-6)
    window = x.shape[1:]
    p, q = (c.reshape(-1, *window) for c in centres)
    if config.form in ("prototypes", "metric"):
        root = np.sqrt(scale)
        return params | {
            "log_scale": jnp.asarray(np.log(scale), jnp.float32),
            "normal_prototypes": jnp.asarray(root * p, jnp.float32),
            "other_prototypes": jnp.asarray(root * q, jnp.float32),
        }
    if config.length:
        edge = (window[-1] - config.length) // 2
        p, q = (c[..., edge : edge + config.length] for c in (p, q))
    half = [scale * np.sum(c * c, axis=(-2, -1)) / 2 for c in (p, q)]
    if config.form == "max-min":  # nearer to p_k than to any q_j
        start = {
            "all_templates": scale * (p[:, None] - q[None]),
            "all_offsets": half[1][None] - half[0][:, None],
        }
    else:
        start = {
            "normal_templates": scale * p,
            "normal_offsets": -half[0],
            "other_templates": scale * q,
            "other_offsets": -half[1],
        }
    return params | {k: jnp.asarray(v, jnp.float32) for k, v in start.items()}


def _distance(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The squared distance of every vector to the nearest centre."""
    return np.sum(np.square(x - centres[nearest(x, centres)]), axis=1)
